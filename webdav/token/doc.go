// Package token decides who may do what by tokens, which stand in a file.
package token
