// Reads a job file as the nomad command does, and prints the job as JSON, or what is wrong with it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/hashicorp/nomad/jobspec2"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: nomad-jobspec FILE")
		os.Exit(2)
	}
	text, err := os.ReadFile(os.Args[1])
	if err == nil {
		var job any
		if job, err = jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: os.Args[1], Body: text, Strict: true}); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(job)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
