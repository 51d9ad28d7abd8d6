// Package metrics counts what a server does, for Prometheus, and tells whether it
// is well.
package metrics
