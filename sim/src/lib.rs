//! Rehearsals: the gateway core driven by a simulated network. Nothing is built here yet.
