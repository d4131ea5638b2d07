//! The Lease of the operators: what [`Election`](speaker_core::operator::election::Election) decides, as requests.

use std::time::Duration;

use jiff::Timestamp as Wall;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use speaker_core::operator::election::{Answer, ElectionSettings, Record, Step};
use tokio::time::timeout;

/// A Lease in the API, written in our name.
pub(crate) struct LeaseStore {
    api: Api<Lease>,
    name: String,
    settings: ElectionSettings,
    /// As it was last seen: what others put into it stays.
    known: Option<Lease>,
    /// The last thing that went wrong, so that it is logged once.
    trouble: Option<String>,
}

impl LeaseStore {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, settings: ElectionSettings) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), settings, known: None, trouble: None }
    }

    /// Does one step. An answer takes a sixth of the Lease's duration at most, so that a renewal can be tried again.
    pub(crate) async fn perform(&mut self, step: &Step) -> Answer {
        let limit = self.settings.duration / 6;
        let answer = match timeout(limit, self.request(step)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("the API server has not answered for {limit:?}")),
        };
        match answer {
            Ok(answer) => {
                if self.trouble.take().is_some() {
                    tracing::info!("the Lease can be reached again");
                }
                answer
            }
            Err(why) => {
                if self.trouble.as_ref() != Some(&why) {
                    tracing::warn!("the Lease {} cannot be reached: {why}", self.name);
                    self.trouble = Some(why);
                }
                Answer::Failed
            }
        }
    }

    async fn request(&mut self, step: &Step) -> Result<Answer, String> {
        let params = PostParams::default();
        let result = match step {
            Step::Wait(_) => return Ok(Answer::Failed),
            Step::Read => {
                return match self.api.get_opt(&self.name).await {
                    Ok(Some(lease)) => Ok(Answer::Found(self.keep(lease))),
                    Ok(None) => Ok(Answer::Absent),
                    Err(error) => Err(error.to_string()),
                };
            }
            Step::Create => {
                let name = Some(self.name.clone());
                let mut lease = Lease { metadata: ObjectMeta { name, ..ObjectMeta::default() }, spec: None };
                self.hold(&mut lease, 0, false);
                self.api.create(&params, &lease).await
            }
            Step::Update { version, transitions, renewal } => {
                let mut lease = self.known.clone().unwrap_or_default();
                lease.metadata.name = Some(self.name.clone());
                lease.metadata.resource_version = Some(version.clone());
                self.hold(&mut lease, *transitions, *renewal);
                self.api.replace(&self.name, &params, &lease).await
            }
        };
        match result {
            Ok(lease) => Ok(Answer::Written(self.keep(lease))),
            // Somebody was faster: "already exists", "conflict", or it is gone.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Answer::Refused),
            Err(error) => Err(error.to_string()),
        }
    }

    fn hold(&self, lease: &mut Lease, transitions: i32, renewal: bool) {
        let now = Some(MicroTime(Wall::now()));
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.settings.identity.clone());
        spec.lease_duration_seconds = Some(seconds(self.settings.duration));
        spec.lease_transitions = Some(transitions);
        spec.renew_time.clone_from(&now);
        if !renewal {
            spec.acquire_time = now;
        }
    }

    fn keep(&mut self, lease: Lease) -> Record {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let record = Record {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: Duration::from_secs(seconds.unwrap_or_default()),
            transitions: spec.lease_transitions.unwrap_or_default(),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
        };
        self.known = Some(lease);
        record
    }

    /// Gives the Lease up, so that nobody has to wait for it to run out.
    pub(crate) async fn release(&mut self, record: &Record) {
        let mut lease = self.known.take().unwrap_or_default();
        lease.metadata.resource_version = Some(record.version.clone());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Wall::now()));
        let params = PostParams::default();
        let written = timeout(self.settings.duration / 6, self.api.replace(&self.name, &params, &lease));
        match written.await {
            Ok(Ok(_)) => tracing::info!("the Lease {} is given up", self.name),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease {} cannot be given up: it runs out", self.name);
            }
            Err(_) => tracing::warn!("the Lease {} cannot be given up in time: it runs out", self.name),
        }
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}
