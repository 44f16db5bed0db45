mod bijection;
mod outcomes;
mod protocols;
