// Command bare answers every request with the bytes and the headers that another server
// gave once for a URL. It is net/http with nothing around it: what a server in Go can
// reach at most.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: bare ADDRESS URL")
	}
	response, err := http.Get(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s, %v", os.Args[2], response.Status, err)
	}
	response.Body.Close()
	header := response.Header
	header.Del("Date")
	fmt.Println(len(text), "bytes")
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, values := range header {
			h[name] = values
		}
		w.Write(text)
	})))
}
