mod abandoned;
mod clock;
mod orphans;
mod races;
mod rules;
