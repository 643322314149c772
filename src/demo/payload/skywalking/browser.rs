//! Page timings and script errors.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;

use super::{Who, encoded};

const PAGE: &str = "/shop";

pub(super) fn message(request: &str, who: &Who) -> Option<Bytes> {
    let service = who.service.clone();
    let service_version = who.instance.clone();
    let (time, page_path) = (who.now, PAGE.to_owned());
    Some(match request.strip_prefix("skywalking.v3.Browser")? {
        "PerfData" => encoded(&sw::BrowserPerfData {
            service,
            service_version,
            time,
            page_path,
            ttfb_time: 80,
            load_page_time: 900,
            ..sw::BrowserPerfData::default()
        }),
        "WebVitalsPerfData" => encoded(&sw::BrowserWebVitalsPerfData {
            service,
            service_version,
            time,
            page_path,
            fmp_time: 300,
            cls: 0.05,
            lcp_time: 700,
        }),
        "ResourcePerfData" => encoded(&sw::BrowserResourcePerfData {
            service,
            service_version,
            time,
            page_path,
            name: "app.js".to_owned(),
            duration: 40,
            size: 65_536,
            ..sw::BrowserResourcePerfData::default()
        }),
        "WebInteractionsPerfData" => encoded(&sw::BrowserWebInteractionsPerfData {
            service,
            service_version,
            time,
            page_path,
            inp_time: 60,
        }),
        "ErrorLog" => encoded(&sw::BrowserErrorLog {
            unique_id: format!("{}-{}", who.instance, who.now),
            service,
            service_version,
            time,
            page_path,
            category: sw::ErrorCategory::Js.into(),
            message: "x is not a function".to_owned(),
            ..sw::BrowserErrorLog::default()
        }),
        _ => return None,
    })
}
