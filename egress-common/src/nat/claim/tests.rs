mod bijection;
mod outcomes;
