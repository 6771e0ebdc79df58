//! Where grammars are left out: they are refused before an answer begins.

use core::time::Duration;

use super::Grammar;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;

/// A model's vocabulary, ready for grammars: of this build, none is.
#[derive(Debug)]
pub enum Grammars {}

/// A grammar on its way through one answer: of this build, none is.
#[derive(Debug)]
pub enum Constraint {}

impl Grammars {
    /// Those over the vocabulary of a model.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], always.
    pub fn of(_: &Model) -> Result<Grammars> {
        Err(absent())
    }

    /// Makes a grammar ready for one answer.
    ///
    /// # Errors
    /// None: there is nothing to call it on.
    pub fn constraint(&self, _: &Grammar) -> Result<Constraint> {
        match *self {}
    }
}

impl Constraint {
    /// Whether nothing may follow but the end.
    pub fn is_complete(&self) -> bool {
        match *self {}
    }

    /// Whether the answer may end here.
    ///
    /// # Errors
    /// None: there is nothing to call it on.
    pub fn may_end(&mut self) -> Result<bool> {
        match *self {}
    }

    /// Goes over as many of these tokens as may come next; how many those are.
    ///
    /// # Errors
    /// None: there is nothing to call it on.
    pub fn follow(&mut self, _: &[u32]) -> Result<usize> {
        match *self {}
    }

    /// Time that the grammar has taken since it was made.
    pub fn spent(&self) -> Duration {
        match *self {}
    }

    pub(crate) fn next_forced(&mut self) -> Option<u32> {
        match *self {}
    }

    pub(crate) fn take_forced(&mut self) {
        match *self {}
    }

    pub(crate) fn mask(&mut self, _: &mut [f32]) -> Result<()> {
        match *self {}
    }

    pub(crate) fn accept(&mut self, _: u32) -> Result<()> {
        match *self {}
    }
}

pub(super) fn to_lark(_: &str) -> Result<String> {
    Err(absent())
}

fn absent() -> Error {
    let text = "this build has no grammars; build inkstone-engine with feature `grammar`";
    Error::text(ErrorKind::Unsupported, text)
}
