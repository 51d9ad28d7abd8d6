package gc

// Without takes steps out of the protocol.
var Without = &without
