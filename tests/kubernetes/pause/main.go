// What the laboratory's own image holds: it keeps a Pod's sandbox open, and with `serve PORT` it tells whoever connects
// its host name and whom it sees, as tests/src/echo.rs does.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		name, err := os.Hostname()
		if err != nil {
			panic(err)
		}
		listener, err := net.Listen("tcp", ":"+os.Args[2])
		if err != nil {
			panic(err)
		}
		go serve(listener, name)
	}
	<-ended
}

func serve(listener net.Listener, name string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(client, "%s %s", name, client.RemoteAddr().(*net.TCPAddr).IP)
		client.Close()
	}
}
