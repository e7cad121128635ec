//! Events of this pod, for `kubectl describe` and `kubectl events`.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::json;

use super::{ApiError, Kubernetes};
use crate::authority::lease::Holder;

/// The longest note that the API takes, in bytes (`events.k8s.io/v1`).
const LONGEST: usize = 1024;

/// The Events of one pod.
pub(in crate::authority) struct Events {
    kubernetes: Kubernetes,
    api: Api<DynamicObject>,
    me: Holder,
}

impl Events {
    /// Sends nothing.
    pub(in crate::authority) fn new(kubernetes: Kubernetes, me: Holder) -> Self {
        Self {
            api: kubernetes.untyped::<Event>(),
            kubernetes,
            me,
        }
    }

    /// Writes one. `reason` is a word for machines, `note` a sentence for people.
    pub(in crate::authority) async fn write(
        &self,
        warns: bool,
        reason: &str,
        note: &str,
    ) -> Result<(), ApiError> {
        let namespace = &self.kubernetes.namespace;
        let kind = ApiResource::erase::<Event>(&());
        let note: String = note.chars().take(LONGEST / 4).collect();
        let mut event = DynamicObject::new("", &kind).within(namespace).data(json!({
            "eventTime": MicroTime(Timestamp::now()),
            "type": if warns { "Warning" } else { "Normal" },
            "action": reason,
            "reason": reason,
            "note": note,
            "regarding": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": self.me.pod,
                "namespace": namespace,
                "uid": self.me.uid,
            },
            "reportingController": "podzero",
            "reportingInstance": self.me.pod,
        }));
        event.metadata.name = None;
        event.metadata.generate_name = Some(format!("{}-", self.me.pod));
        let once = PostParams::default();
        let made = self.api.create(&once, &event);
        let what = "making an Event".to_owned();
        self.kubernetes.ask(what, made).await.map(|_| ())
    }
}
