mod parts;
mod udp;
mod whole;
