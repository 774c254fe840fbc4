use crate::rooms::poll;
use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use room_runtime::{Error, prelude::*};
use std::convert::Infallible;
use tower_service::Service;
use worker::{Context, Env, HttpRequest, HttpResponse, event};

// BLOCK

// …
impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<worker::Error> for Failed {
    fn from(error: worker::Error) -> Self {
        let other = |error: worker::Error| Error::new(ErrorKind::Platform, error.to_string());
        Self(Error::try_from(error).unwrap_or_else(other))
    }
}
