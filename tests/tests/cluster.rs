//! The cluster itself: what runs in it is real, it reaches what it should, and nothing is left of it.

mod image;
mod life;
mod network;
mod pods;
