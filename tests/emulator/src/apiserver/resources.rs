//! The kinds that are served, as data.

/// One kind of object and the paths below which it is served.
#[derive(Debug)]
pub(super) struct Resource {
    /// The API group; empty is the core group.
    pub(super) group: &'static str,
    /// The version.
    pub(super) version: &'static str,
    /// The kind.
    pub(super) kind: &'static str,
    /// The path segment.
    pub(super) plural: &'static str,
    /// The name of one, as kubectl takes it.
    pub(super) singular: &'static str,
    /// Whether objects live in namespaces.
    pub(super) namespaced: bool,
    /// Short names.
    pub(super) short: &'static [&'static str],
    /// The categories that include the kind.
    pub(super) categories: &'static [&'static str],
    /// Whether objects are kept; the others are only answered, like access reviews.
    pub(super) stored: bool,
    /// What is served below an object.
    pub(super) subresources: &'static [Subresource],
    /// The name of the schema.
    pub(super) schema: &'static str,
}

/// What is served below an object.
#[derive(Debug)]
pub(super) struct Subresource {
    /// The path segment.
    pub(super) name: &'static str,
    /// Group, version and kind of what is exchanged; an empty version is the parent's own.
    pub(super) kind: (&'static str, &'static str, &'static str),
    /// The verbs.
    pub(super) verbs: &'static [&'static str],
}

/// The verbs of every stored kind.
pub(super) const STORED_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];

const fn own(name: &'static str, kind: &'static str) -> Subresource {
    Subresource {
        name,
        kind: ("", "", kind),
        verbs: GET_PATCH_UPDATE,
    }
}

const SCALE: Subresource = Subresource {
    name: "scale",
    kind: ("autoscaling", "v1", "Scale"),
    verbs: GET_PATCH_UPDATE,
};

const STREAM: &[&str] = &["create", "get"];

const POD: &[Subresource] = &[
    own("status", "Pod"),
    own("ephemeralcontainers", "Pod"),
    Subresource {
        name: "log",
        kind: ("", "", "Pod"),
        verbs: &["get"],
    },
    Subresource {
        name: "exec",
        kind: ("", "", "PodExecOptions"),
        verbs: STREAM,
    },
    Subresource {
        name: "attach",
        kind: ("", "", "PodAttachOptions"),
        verbs: STREAM,
    },
    Subresource {
        name: "portforward",
        kind: ("", "", "PodPortForwardOptions"),
        verbs: STREAM,
    },
    Subresource {
        name: "eviction",
        kind: ("policy", "v1", "Eviction"),
        verbs: &["create"],
    },
];

const TOKEN: &[Subresource] = &[Subresource {
    name: "token",
    kind: ("authentication.k8s.io", "v1", "TokenRequest"),
    verbs: &["create"],
}];

impl Resource {
    /// The `apiVersion` of the kind.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The resource as messages name it: `deployments.apps`.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The path segment's subresource.
    pub(super) fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|known| known.name == name)
    }

    /// What tells the stored objects of this kind from those of others. The two kinds of events
    /// are one, and so are all versions of a kind.
    pub(super) fn key(&self) -> &'static str {
        self.plural
    }
}

/// The resource at a path.
pub(super) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|known| known.plural == plural && known.group == group && known.version == version)
}

/// The resource of a plural name, in whatever group.
///
/// # Panics
///
/// When the name is not served; only names from the table below may be asked.
pub(super) fn known(plural: &str) -> &'static Resource {
    RESOURCES
        .iter()
        .find(|known| known.plural == plural)
        .expect("the name stands in the table of resources")
}

/// Groups and versions in the order in which discovery lists them.
pub(super) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut seen = Vec::new();
    for resource in RESOURCES {
        let pair = (resource.group, resource.version);
        if !seen.contains(&pair) {
            seen.push(pair);
        }
    }
    seen
}

/// Groups with their versions, the preferred one first.
pub(super) fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (group, version) in group_versions() {
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, versions)) => versions.push(version),
            None => groups.push((group, vec![version])),
        }
    }
    groups
}

/// The kinds of one group and version.
pub(super) fn of(group: &str, version: &str) -> impl Iterator<Item = &'static Resource> {
    RESOURCES
        .iter()
        .filter(move |known| known.group == group && known.version == version)
}

macro_rules! resources {
    ($($group:literal $version:literal $package:literal {
        $($kind:literal $plural:literal $singular:literal $scope:ident [$($short:literal)*] [$($category:literal)*] $stored:ident $subs:expr;)*
    })*) => {
        /// Every kind that is served.
        pub(super) static RESOURCES: &[Resource] = &[$($(Resource {
            group: $group,
            version: $version,
            kind: $kind,
            plural: $plural,
            singular: $singular,
            namespaced: resources!(@scope $scope),
            short: &[$($short),*],
            categories: &[$($category),*],
            stored: resources!(@stored $stored),
            subresources: $subs,
            schema: concat!("io.k8s.api.", $package, ".", $version, ".", $kind),
        },)*)*];
    };
    (@scope namespaced) => { true };
    (@scope cluster) => { false };
    (@stored stored) => { true };
    (@stored answered) => { false };
}

resources! {
    "" "v1" "core" {
        "ConfigMap" "configmaps" "configmap" namespaced ["cm"] [] stored &[];
        "Endpoints" "endpoints" "endpoints" namespaced ["ep"] [] stored &[];
        "Event" "events" "event" namespaced ["ev"] [] stored &[];
        "LimitRange" "limitranges" "limitrange" namespaced ["limits"] [] stored &[];
        "Namespace" "namespaces" "namespace" cluster ["ns"] [] stored &[own("status", "Namespace")];
        "Node" "nodes" "node" cluster ["no"] [] stored &[own("status", "Node")];
        "PersistentVolumeClaim" "persistentvolumeclaims" "persistentvolumeclaim" namespaced ["pvc"] [] stored &[own("status", "PersistentVolumeClaim")];
        "PersistentVolume" "persistentvolumes" "persistentvolume" cluster ["pv"] [] stored &[own("status", "PersistentVolume")];
        "Pod" "pods" "pod" namespaced ["po"] ["all"] stored POD;
        "ReplicationController" "replicationcontrollers" "replicationcontroller" namespaced ["rc"] ["all"] stored &[own("status", "ReplicationController"), SCALE];
        "ResourceQuota" "resourcequotas" "resourcequota" namespaced ["quota"] [] stored &[own("status", "ResourceQuota")];
        "Secret" "secrets" "secret" namespaced [] [] stored &[];
        "ServiceAccount" "serviceaccounts" "serviceaccount" namespaced ["sa"] [] stored TOKEN;
        "Service" "services" "service" namespaced ["svc"] ["all"] stored &[own("status", "Service")];
    }
    "apps" "v1" "apps" {
        "ControllerRevision" "controllerrevisions" "controllerrevision" namespaced [] [] stored &[];
        "DaemonSet" "daemonsets" "daemonset" namespaced ["ds"] ["all"] stored &[own("status", "DaemonSet")];
        "Deployment" "deployments" "deployment" namespaced ["deploy"] ["all"] stored &[own("status", "Deployment"), SCALE];
        "ReplicaSet" "replicasets" "replicaset" namespaced ["rs"] ["all"] stored &[own("status", "ReplicaSet"), SCALE];
        "StatefulSet" "statefulsets" "statefulset" namespaced ["sts"] ["all"] stored &[own("status", "StatefulSet"), SCALE];
    }
    "events.k8s.io" "v1" "events" {
        "Event" "events" "event" namespaced ["ev"] [] stored &[];
    }
    "authentication.k8s.io" "v1" "authentication" {
        "SelfSubjectReview" "selfsubjectreviews" "selfsubjectreview" cluster [] [] answered &[];
        "TokenReview" "tokenreviews" "tokenreview" cluster [] [] answered &[];
    }
    "authorization.k8s.io" "v1" "authorization" {
        "LocalSubjectAccessReview" "localsubjectaccessreviews" "localsubjectaccessreview" namespaced [] [] answered &[];
        "SelfSubjectAccessReview" "selfsubjectaccessreviews" "selfsubjectaccessreview" cluster [] [] answered &[];
        "SelfSubjectRulesReview" "selfsubjectrulesreviews" "selfsubjectrulesreview" cluster [] [] answered &[];
        "SubjectAccessReview" "subjectaccessreviews" "subjectaccessreview" cluster [] [] answered &[];
    }
    "autoscaling" "v2" "autoscaling" {
        "HorizontalPodAutoscaler" "horizontalpodautoscalers" "horizontalpodautoscaler" namespaced ["hpa"] ["all"] stored &[own("status", "HorizontalPodAutoscaler")];
    }
    "autoscaling" "v1" "autoscaling" {
        "HorizontalPodAutoscaler" "horizontalpodautoscalers" "horizontalpodautoscaler" namespaced ["hpa"] ["all"] stored &[own("status", "HorizontalPodAutoscaler")];
    }
    "batch" "v1" "batch" {
        "CronJob" "cronjobs" "cronjob" namespaced ["cj"] ["all"] stored &[own("status", "CronJob")];
        "Job" "jobs" "job" namespaced [] ["all"] stored &[own("status", "Job")];
    }
    "networking.k8s.io" "v1" "networking" {
        "IngressClass" "ingressclasses" "ingressclass" cluster [] [] stored &[];
        "Ingress" "ingresses" "ingress" namespaced ["ing"] [] stored &[own("status", "Ingress")];
        "NetworkPolicy" "networkpolicies" "networkpolicy" namespaced ["netpol"] [] stored &[];
    }
    "policy" "v1" "policy" {
        "PodDisruptionBudget" "poddisruptionbudgets" "poddisruptionbudget" namespaced ["pdb"] [] stored &[own("status", "PodDisruptionBudget")];
    }
    "rbac.authorization.k8s.io" "v1" "rbac" {
        "ClusterRoleBinding" "clusterrolebindings" "clusterrolebinding" cluster [] [] stored &[];
        "ClusterRole" "clusterroles" "clusterrole" cluster [] [] stored &[];
        "RoleBinding" "rolebindings" "rolebinding" namespaced [] [] stored &[];
        "Role" "roles" "role" namespaced [] [] stored &[];
    }
    "storage.k8s.io" "v1" "storage" {
        "StorageClass" "storageclasses" "storageclass" cluster ["sc"] [] stored &[];
    }
    "scheduling.k8s.io" "v1" "scheduling" {
        "PriorityClass" "priorityclasses" "priorityclass" cluster ["pc"] [] stored &[];
    }
    "coordination.k8s.io" "v1" "coordination" {
        "Lease" "leases" "lease" namespaced [] [] stored &[];
    }
    "discovery.k8s.io" "v1" "discovery" {
        "EndpointSlice" "endpointslices" "endpointslice" namespaced [] [] stored &[];
    }
}
