//! The filter as its user sees it, by chapter.

mod model;
mod spill;
mod startup;
mod support;
mod window;
