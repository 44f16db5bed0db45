mod garbage;
mod golden;
mod lengths;
mod shape;
