mod admission;
mod message;
