//! Keys of which processes are reported, and as what. Their words are Rover's where it has them.

use super::super::kind::Kind::{Flag, Name, Regex, Text};
use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "capture.discovery.proc_root",
        Text,
        "/proc",
        "Where the host's `/proc` is mounted.",
    )
    .ours(),
    Key::new(
        "capture.discovery.cluster_name",
        Text,
        "",
        "Put before service names that have none, as `cluster::service`.",
    )
    .ours(),
    Key::new(
        "capture.discovery.units",
        Flag,
        "auto",
        "Whether processes of systemd services that no rule names are reported under the unit's name. Default: where there are no rules.",
    )
    .ours(),
    Key::new(
        "capture.discovery.rules[].match.command",
        Regex,
        "",
        "On the command line, the arguments with blanks between. Of the three one has to be there, and all that are have to match. The first rule that does names the process.",
    )
    .ours(),
    Key::new(
        "capture.discovery.rules[].match.unit",
        Regex,
        "",
        "On the systemd unit, such as `^nginx\\.service$`.",
    )
    .ours(),
    Key::new(
        "capture.discovery.rules[].match.cgroup",
        Regex,
        "",
        "On the control groups' paths.",
    )
    .ours(),
    Key::new(
        "capture.discovery.rules[].service",
        Name,
        "",
        "Service name. This and the next two are templates of Rover's.",
    )
    .ours(),
    Key::new(
        "capture.discovery.rules[].instance",
        Name,
        "{{.Rover.HostName}}",
        "Instance name.",
    )
    .ours(),
    Key::new(
        "capture.discovery.rules[].process",
        Name,
        "{{.Process.ExeName}}",
        "Process name.",
    )
    .ours(),
    Key::new(
        "capture.discovery.rules[].layer",
        Name,
        "OS_LINUX",
        "SkyWalking's layer.",
    )
    .ours(),
    labels("capture.discovery.rules[].labels"),
    one_label("capture.discovery.rules[].labels[]"),
    Key::new(
        "capture.discovery.kubernetes.active",
        Flag,
        "false",
        "Whether processes in pods are named by the analyzers below.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.pods_file",
        Text,
        "",
        "What `kubectl get pods,services,replicasets,jobs -A -o json` printed; read again when it changes.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.node_name",
        Text,
        "",
        "Only pods of this node are known. Empty: all in the file.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.namespaces",
        Text,
        "",
        "Only processes of these namespaces are named, with commas between, or a list. Empty: of all.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.namespaces[]",
        Text,
        "",
        "One entry of the list form.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.analyzers[].active",
        Flag,
        "true",
        "Whether the analyzer is used. Every analyzer that fits a process names it once more. Without the list there are Rover's three.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.analyzers[].filters[]",
        Name,
        "",
        "A condition of Rover's, such as `.Pod.HasContainer \"istio-proxy\"`. All have to hold.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.analyzers[].layer",
        Name,
        "",
        "SkyWalking's layer.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.analyzers[].service_name",
        Name,
        "",
        "Template of the service name.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.analyzers[].instance_name",
        Name,
        "{{.Pod.Name}}",
        "Template of the instance name.",
    )
    .ours(),
    Key::new(
        "capture.discovery.kubernetes.analyzers[].process_name",
        Name,
        "{{.Process.ExeName}}",
        "Template of the process name.",
    )
    .ours(),
    labels("capture.discovery.kubernetes.analyzers[].labels"),
    one_label("capture.discovery.kubernetes.analyzers[].labels[]"),
];

const fn labels(path: &'static str) -> Key {
    let doc = "Labels, by which tasks choose processes: with commas between, or a list.";
    Key::new(path, Text, "", doc).ours()
}

const fn one_label(path: &'static str) -> Key {
    Key::new(path, Text, "", "One entry of the list form.").ours()
}
