package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Times, local ports and pointers that etcdctl prints, and the hash of a history that parallel writes have made.
var varying = regexp.MustCompile(`took = [0-9.]+[µmn]?s|"took":"[^"]*"|"ts":"[^"]*"|LocalAddr: '[^']*'|0x[0-9a-f]+|, \d{6,}, `)

// etcdctl is what operators see.
func etcdctl() []behaviour {
	return []behaviour{
		running("put", "", "put", "/ctl/a", "1"),
		running("get --prefix", "", "get", "/ctl/", "--prefix"),
		running("get --write-out json", "", "get", "/ctl/a", "--write-out", "json"),
		running("get at a compacted revision", "", "get", "/ctl/a", "--rev", "1"),
		running("del --prev-kv", "", "del", "/ctl/a", "--prev-kv"),
		running("txn", "mod(\"/ctl/b\") = \"0\"\n\nput /ctl/b 2\n\nget /ctl/b\n\n", "txn"),
		running("lease timetolive of none", "", "lease", "timetolive", "4d2"),
		running("member list", "", "member", "list"),
		running("endpoint health", "", "endpoint", "health"),
		running("endpoint hashkv", "", "endpoint", "hashkv", "--write-out", "simple"),
		running("alarm list", "", "alarm", "list"),
		running("a user while auth is off", "", "get", "/a", "--user", "nobody:wrong"),
		{"etcdctl: snapshot save", func(t *target, said *transcript) {
			folder, err := os.MkdirTemp("", "transparency")
			if err != nil {
				said.say("%v", err)
				return
			}
			defer os.RemoveAll(folder)
			file := filepath.Join(folder, "snapshot")
			code, _ := run(t, "", "snapshot", "save", file)
			info, err := os.Stat(file)
			said.say("exit %d, a file: %v, over 100 MB: %v", code, err == nil, err == nil && info.Size() > 100_000_000)
		}},
	}
}

func running(name, input string, arguments ...string) behaviour {
	return behaviour{"etcdctl: " + name, func(t *target, said *transcript) {
		code, output := run(t, input, arguments...)
		said.say("exit %d", code)
		said.say("%s", clipped(output))
	}}
}

func run(t *target, input string, arguments ...string) (int, string) {
	arguments = append(arguments, "--endpoints", t.url)
	if t.files.ca != "" {
		arguments = append(arguments, "--cacert", t.files.ca)
	}
	if t.files.cert != "" {
		arguments = append(arguments, "--cert", t.files.cert, "--key", t.files.key)
	}
	command := exec.Command(t.etcdctl, arguments...)
	var output bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &output, &output
	err := command.Run()
	if err != nil && command.ProcessState == nil {
		return -1, err.Error()
	}
	return command.ProcessState.ExitCode(), varying.ReplaceAllString(output.String(), "…")
}
