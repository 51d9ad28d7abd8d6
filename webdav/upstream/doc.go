// Package upstream asks other binary caches for paths that need not be uploaded.
package upstream
