"""Produces spans, metrics and logs with OpenTelemetry's SDK, as its distribution sets it up.

usage: opentelemetry-instrument python otel.py COUNT

Where to and as whom is said by the variables of OpenTelemetry, OTEL_EXPORTER_OTLP_ENDPOINT and others.
Prints what was produced, one thing a line: `compression NAME`, `span ID`, `log TEXT`, and for each
point that was exported `point NAME{ATTRIBUTE=VALUE,...}=VALUE@NANOSECONDS`, of a histogram
`...=COUNT/SUM@NANOSECONDS`. Exits 0 once it has all been exported and answered.
"""

import logging
import os
import sys
import threading

from opentelemetry import _logs, metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

METRIC_ROUNDS = 3
EXPORT_SECONDS = 30


def say(*words) -> None:
    sys.stdout.write(' '.join(map(str, words)) + '\n')
    sys.stdout.flush()


def lines_of(data) -> list:
    """What the points of a MetricsData are known by."""
    lines = []
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    labels = ','.join(f'{key}={value}' for key, value in point.attributes.items())
                    value = point.value if hasattr(point, 'value') else f'{point.count}/{point.sum}'
                    lines.append(f'{metric.name}{{{labels}}}={value}@{point.time_unix_nano}')
    return lines


class Exports:
    """Says what the exporter is given, and when there was enough."""

    def __init__(self):
        self.enough = threading.Event()
        self.rounds = 0
        onward = OTLPMetricExporter.export

        def export(exporter, metrics_data, *args, **kwargs):
            if self.rounds == 0:
                say('compression', exporter._compression.name)
            for line in lines_of(metrics_data):
                say('point', line)
            result = onward(exporter, metrics_data, *args, **kwargs)
            self.rounds += 1
            if self.rounds == METRIC_ROUNDS:
                self.enough.set()
            return result

        OTLPMetricExporter.export = export


def main() -> int:
    count = int(sys.argv[1])
    service = os.environ['OTEL_SERVICE_NAME']
    exports = Exports()
    tracer = trace.get_tracer('orders')
    meter = metrics.get_meter('orders')
    taken = meter.create_counter('orders.taken')
    stock = meter.create_gauge('stock')
    durations = meter.create_histogram('durations', explicit_bucket_boundaries_advisory=[10, 100])
    logger = logging.getLogger('orders')
    for number in range(count):
        kind = {'kind': ('book', 'record')[number % 2], 'shop': service}
        with tracer.start_as_current_span(f'GET /orders/{number}') as span:
            say('span', f'{span.get_span_context().span_id:016x}')
            text = f'{service} has taken order {number}'
            logger.warning(text)
            say('log', text)
        taken.add(3, kind)
        stock.set(number + 0.5, kind)
        durations.record(number, kind)
    if not exports.enough.wait(EXPORT_SECONDS):
        print('the metrics have not been exported', file=sys.stderr)
        return 1
    for provider in (metrics.get_meter_provider(), trace.get_tracer_provider(), _logs.get_logger_provider()):
        provider.shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
