// Package compose performs examples/compose as its README has it. The parser is that of
// docker compose; the program and the real MinIO take the place of containers. It is a
// module of its own, so that the parser is none of nixstatic's dependencies.
package compose
