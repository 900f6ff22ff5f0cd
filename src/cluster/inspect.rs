//! Reading objects of any kind as JSON: what `doctor` looks at.

use kube::api::ListParams;
use kube::core::Request;
use serde_json::Value;
use thiserror::Error;

use super::request::{self, Page};
use super::{Cluster, brief};

/// Why objects could not be read.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The user may not.
    #[error("may not read {0}: {1}")]
    Forbidden(String, String),
    /// The cluster has no such kind.
    #[error("the cluster has no {0}")]
    Unknown(String),
    /// The API server could not be asked, or refused to answer.
    #[error("failed to read {0}: {1}")]
    Failed(String, String),
}

impl Cluster {
    /// The objects at a path such as `/api/v1/namespaces`, all of them or those with labels.
    ///
    /// # Errors
    /// When they can't be read, or there is nothing at that path.
    pub async fn inspect(&self, path: &str, labels: Option<&str>) -> Result<Vec<Value>, InspectError> {
        let mut params = ListParams::default().limit(request::PAGE);
        params.label_selector = labels.map(str::to_owned);
        let mut all = Vec::new();
        loop {
            let list = Request::new(path).list(&params).map_err(kube::Error::BuildRequest);
            let text = match list {
                Ok(list) => self.client().request_text(list).await,
                Err(error) => Err(error),
            };
            let text = text.map_err(|error| explain(path, &error))?;
            let page = Page::read(&text).map_err(|error| explain(path, &error))?;
            for item in &page.items {
                let value = serde_json::from_str(item.get());
                all.push(value.map_err(|error| InspectError::Failed(path.to_owned(), error.to_string()))?);
            }
            match page.next() {
                Some(next) => params.continue_token = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// One object; `None` if it isn't there.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn inspect_one(&self, path: &str, name: &str) -> Result<Option<Value>, InspectError> {
        let at = format!("{path}/{name}");
        let text = request::get(self.client(), path, name).await.map_err(|error| explain(&at, &error))?;
        let read = |text: String| serde_json::from_str(&text);
        text.map(read).transpose().map_err(|error| InspectError::Failed(at, error.to_string()))
    }

    /// The API server's version, `1.36.3` for instance.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn version(&self) -> Result<String, InspectError> {
        let version = self.client().apiserver_version().await;
        let version = version.map_err(|error| explain("/version", &error))?;
        Ok(version.git_version.trim_start_matches('v').to_owned())
    }
}

fn explain(path: &str, error: &kube::Error) -> InspectError {
    let path = path.to_owned();
    match error {
        kube::Error::Api(status) if status.code == 403 => InspectError::Forbidden(path, brief(error)),
        kube::Error::Api(status) if status.code == 404 => InspectError::Unknown(path),
        error => InspectError::Failed(path, brief(error)),
    }
}
