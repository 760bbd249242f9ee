// toolbox is what test workloads run: it serves its host's name over HTTP, fetches, looks names up, sleeps and prints.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = "usage: toolbox serve [ADDRESS] | get URL | lookup NAME | echo WORD... | sleep [DURATION]"

// No single try and no command but serve and sleep takes longer than this.
const limit = 5 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "toolbox:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	argument := func(otherwise string) string {
		if len(words) > 1 {
			return words[1]
		}
		return otherwise
	}
	command := ""
	if len(words) > 0 {
		command = words[0]
	}
	switch command {
	case "serve":
		return serve(argument(":8080"))
	case "get":
		return get(argument(""))
	case "lookup":
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		addresses, err := net.DefaultResolver.LookupHost(ctx, argument(""))
		fmt.Println(strings.Join(addresses, "\n"))
		return err
	case "echo":
		fmt.Println(strings.Join(words[1:], " "))
		return nil
	case "sleep":
		duration, err := time.ParseDuration(argument("24h"))
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		defer stop()
		select {
		case <-ctx.Done():
		case <-time.After(duration):
		}
		return nil
	}
	return fmt.Errorf("%s", usage)
}

// serve answers every path with the host's name and the caller's address, one line each, and logs each call.
func serve(address string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Println(r.Method, r.URL.Path, "from", caller)
		fmt.Fprintf(w, "%s\n%s\n", name, caller)
	})}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	fmt.Println("serving as", name, "on", address)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func get(url string) error {
	// every call is a connection of its own, so that a service spreads them
	client := http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}
