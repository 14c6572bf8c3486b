//! The eight calls.

use cascade_proto::tables::{Mergelog, Span, Table};
use cascade_proto::wire::mergelog::mergelog_service_server::MergelogService;
use cascade_proto::wire::mergelog::{
    self as messages, Cpid, GetAllSpansResponse, GetRelevantSpansResponse, MergelogRequest,
    Mergelogs, PostSpansRequest,
};
use tonic::{Request, Response, Status};

use super::answer::{Answer, Places};
use super::collection::Collection;
use super::metrics::TraceServerMetrics;
use super::wire;
use crate::store::Wanted;

/// Answers the calls.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) mergelogs: Collection<Mergelog>,
    pub(super) spans: Collection<Span>,
    pub(super) allow_delete: bool,
    /// Largest answer, encoded.
    pub(super) max_answer_bytes: usize,
    pub(super) metrics: TraceServerMetrics,
}

impl Service {
    /// The CPID and all that came of it, in the order of an answer.
    async fn descendants(&self, cpid: &str) -> Result<Places, Status> {
        let state = self.mergelogs.state().await;
        if state.full {
            self.metrics.refuse(Mergelog::NAME, "index_full");
            return Err(self.mergelogs.index_full());
        }
        Ok(Places::of(state.index.descendants(cpid)))
    }

    async fn spans_of(&self, places: Places) -> Result<Vec<messages::Span>, Status> {
        let wanted = wanted("cpid", &places);
        let place = move |span: &Span| places.place(&span.cpid);
        let answer = Answer::by_place(wire::span_message, self.max_answer_bytes, place);
        let answer = self.spans.read(Some(wanted), answer).await?;
        self.finish(Span::NAME, answer)
    }

    fn finish<T, M: prost::Message>(
        &self,
        table: &'static str,
        answer: Answer<T, M>,
    ) -> Result<Vec<M>, Status> {
        let finished = answer.finish();
        if finished.is_err() {
            self.metrics.refuse(table, "answer_too_large");
        }
        finished
    }

    fn invalid(&self, table: &'static str, error: &wire::Invalid) -> Status {
        self.metrics.refuse(table, "invalid");
        Status::invalid_argument(error.to_string())
    }

    fn check_delete(&self, table: &'static str) -> Result<(), Status> {
        if self.allow_delete {
            return Ok(());
        }
        self.metrics.refuse(table, "not_allowed");
        Err(Status::permission_denied(
            "deleting is not allowed; the interceptor allows it with --mergelog-allow-delete",
        ))
    }
}

fn wanted(column: &'static str, places: &Places) -> Wanted {
    let places = places.clone();
    Wanted {
        column,
        keep: std::sync::Arc::new(move |cpid| places.contains(cpid)),
    }
}

#[tonic::async_trait]
impl MergelogService for Service {
    async fn post_mergelogs(
        &self,
        request: Request<MergelogRequest>,
    ) -> Result<Response<()>, Status> {
        let rows = wire::mergelog_rows(request.into_inner().mergelogs)
            .map_err(|error| self.invalid(Mergelog::NAME, &error))?;
        self.mergelogs.post(rows).await?;
        Ok(Response::new(()))
    }

    async fn get_all_mergelogs(
        &self,
        _request: Request<()>,
    ) -> Result<Response<Mergelogs>, Status> {
        let answer = Answer::in_order(wire::mergelog_message, self.max_answer_bytes);
        let answer = self.mergelogs.read(None, answer).await?;
        let mergelogs = self.finish(Mergelog::NAME, answer)?;
        Ok(Response::new(Mergelogs { mergelogs }))
    }

    async fn get_relevant_mergelogs(
        &self,
        request: Request<Cpid>,
    ) -> Result<Response<Mergelogs>, Status> {
        let places = self.descendants(&request.into_inner().cpid).await?;
        if places.is_empty() {
            return Ok(Response::new(Mergelogs::default()));
        }
        let wanted = wanted("new_cpid", &places);
        let place = move |mergelog: &Mergelog| places.place(&mergelog.new_cpid);
        let answer = Answer::by_place(wire::mergelog_message, self.max_answer_bytes, place);
        let answer = self.mergelogs.read(Some(wanted), answer).await?;
        let mergelogs = self.finish(Mergelog::NAME, answer)?;
        Ok(Response::new(Mergelogs { mergelogs }))
    }

    async fn delete_all_mergelogs(&self, _request: Request<()>) -> Result<Response<()>, Status> {
        self.check_delete(Mergelog::NAME)?;
        self.mergelogs.hide_all().await?;
        Ok(Response::new(()))
    }

    async fn post_spans(&self, request: Request<PostSpansRequest>) -> Result<Response<()>, Status> {
        let rows = wire::span_rows(request.into_inner().spans)
            .map_err(|error| self.invalid(Span::NAME, &error))?;
        self.spans.post(rows).await?;
        Ok(Response::new(()))
    }

    async fn get_all_spans(
        &self,
        _request: Request<()>,
    ) -> Result<Response<GetAllSpansResponse>, Status> {
        let answer = Answer::in_order(wire::span_message, self.max_answer_bytes);
        let answer = self.spans.read(None, answer).await?;
        let spans = self.finish(Span::NAME, answer)?;
        Ok(Response::new(GetAllSpansResponse { spans }))
    }

    async fn get_relevant_spans(
        &self,
        request: Request<Cpid>,
    ) -> Result<Response<GetRelevantSpansResponse>, Status> {
        let places = self.descendants(&request.into_inner().cpid).await?;
        let spans = if places.is_empty() {
            Vec::new()
        } else {
            self.spans_of(places).await?
        };
        Ok(Response::new(GetRelevantSpansResponse { spans }))
    }

    async fn delete_all_spans(&self, _request: Request<()>) -> Result<Response<()>, Status> {
        self.check_delete(Span::NAME)?;
        self.spans.hide_all().await?;
        Ok(Response::new(()))
    }
}
