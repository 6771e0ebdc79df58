//! Models on this machine: what can be pulled, from where, and what is here already.

mod catalogue;
mod converted;
mod disk;
mod download;
mod home;
mod http;
mod hub;
mod installed;
mod licence;
mod pip;
mod pull;
mod reference;
mod source;

pub(crate) use catalogue::{CATALOGUE, Entry};
pub(crate) use converted::{convert_to, converted};
pub(crate) use disk::free_bytes;
pub(crate) use home::Home;
pub(crate) use installed::{Installed, installed};
pub(crate) use licence::{Consent, licence_of, term_keys};
pub(crate) use pip::find as find_pip;
pub(crate) use pull::pull;
pub(crate) use reference::Reference;
