mod fragments;
mod garbage;
mod headers;
mod kinds;
mod same;
