//! Which members there are: what a template is checked against when it is parsed.

/// What a member or an expression yields.
#[derive(Clone, Copy, Debug)]
pub(in crate::discovery) enum Kind {
    /// A text, a number or a truth value.
    Plain,
    /// Something with members of its own.
    Subject(&'static Shape),
    /// Known only when it is evaluated.
    Unknown,
}

/// Something that has members.
#[derive(Debug)]
pub(in crate::discovery) struct Shape {
    /// How it is called in errors.
    pub(in crate::discovery) name: &'static str,
    pub(in crate::discovery) members: &'static [Member],
}

/// A member. Its arguments are texts.
#[derive(Debug)]
pub(in crate::discovery) struct Member {
    pub(in crate::discovery) name: &'static str,
    pub(in crate::discovery) arguments: usize,
    pub(in crate::discovery) kind: Kind,
}

impl Shape {
    pub(super) fn member(&self, name: &str) -> Option<&'static Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

const fn plain(name: &'static str, arguments: usize) -> Member {
    let kind = Kind::Plain;
    Member {
        name,
        arguments,
        kind,
    }
}

const fn subject(name: &'static str, arguments: usize, shape: &'static Shape) -> Member {
    let kind = Kind::Subject(shape);
    Member {
        name,
        arguments,
        kind,
    }
}

/// What a rule of a plain host can speak of.
pub(in crate::discovery) static HOST: Shape = Shape {
    name: "a process of a host",
    members: &[subject("Rover", 0, &ROVER), subject("Process", 0, &PROCESS)],
};

/// What an analyzer can speak of.
pub(in crate::discovery) static KUBERNETES: Shape = Shape {
    name: "a process of a pod",
    members: &[
        subject("Rover", 0, &ROVER),
        subject("Process", 0, &PROCESS),
        subject("Pod", 0, &POD),
        subject("Container", 0, &CONTAINER),
    ],
};

static ROVER: Shape = Shape {
    name: ".Rover",
    members: &[
        plain("InstanceID", 0),
        plain("HostIPV4", 1),
        plain("HostIPV6", 1),
        plain("HostName", 0),
    ],
};

/// The last three are ours.
static PROCESS: Shape = Shape {
    name: ".Process",
    members: &[
        plain("ExeFilePath", 0),
        plain("ExeName", 0),
        plain("CommandLine", 0),
        plain("Pid", 0),
        plain("WorkDir", 0),
        plain("ExeNameInCommandLine", 0),
        plain("Unit", 0),
        plain("UnitName", 0),
        plain("ContainerID", 0),
    ],
};

static POD: Shape = Shape {
    name: ".Pod",
    members: &[
        plain("Name", 0),
        plain("Namespace", 0),
        plain("Node", 0),
        plain("LabelValue", 2),
        plain("ServiceName", 0),
        subject("FindContainer", 1, &CONTAINER),
        plain("OwnerName", 1),
        plain("HasContainer", 1),
        plain("LabelSelector", 1),
        plain("HasServiceName", 0),
        plain("HasOwnerName", 1),
    ],
};

static CONTAINER: Shape = Shape {
    name: ".Container",
    members: &[plain("Name", 0), plain("ID", 0), plain("EnvValue", 1)],
};
