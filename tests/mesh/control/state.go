package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/net/tsaddr"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

type tlsConn = tls.Conn

// authKey is one key that nodes join with.
type authKey struct {
	Tags          []string
	Reusable      bool
	Ephemeral     bool
	Preauthorized bool
	Expires       time.Time
	Revoked       bool
	Uses          int
}

// device is a node and what only the control side knows of it.
type device struct {
	Node      *tailcfg.Node
	Ephemeral bool
	LastSeen  time.Time

	streams int
}

// rule lets nodes with one of the tags Src reach nodes with the tag Dst at Ports ("22", "1234-1240", "*").
type rule struct {
	Src   []string
	Dst   string
	Ports []string
}

// policy says who may have which tag, whether new nodes wait for approval, and who reaches whom. No rules: all reach all.
type policy struct {
	Tags    []string
	Approve bool
	Rules   []rule
}

type server struct {
	mu      sync.Mutex
	path    string
	url     string
	domain  string
	derp    *tailcfg.DERPMap
	tokens  map[string]string
	changed chan struct{}

	Noise     key.MachinePrivate
	Port      int
	RelayPort int
	STUNPort  int
	NextID    int
	Keys      map[string]*authKey
	Clients   map[string]*oauthClient
	Devices   []*device
	Policy    policy
}

func load(path, domain string) (*server, error) {
	s := &server{
		path: path, domain: domain, changed: make(chan struct{}), tokens: map[string]string{}, NextID: 1,
		Keys: map[string]*authKey{}, Clients: map[string]*oauthClient{},
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		s.Noise = key.NewMachine()
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return s, json.Unmarshal(text, s)
}

// save keeps the state and wakes every stream; s.mu is held.
func (s *server) save() {
	text, err := json.Marshal(s)
	check(err)
	check(os.WriteFile(s.path+".part", text, 0o600))
	check(os.Rename(s.path+".part", s.path))
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) find(match func(*device) bool) *device {
	if at := slices.IndexFunc(s.Devices, match); at >= 0 {
		return s.Devices[at]
	}
	return nil
}

func (s *server) byKey(k key.NodePublic) *device {
	return s.find(func(d *device) bool { return d.Node.Key == k })
}

func (s *server) byMachine(k key.MachinePublic) *device {
	return s.find(func(d *device) bool { return d.Node.Machine == k })
}

func (s *server) byName(name string) *device {
	return s.find(func(d *device) bool { return d.Node.ComputedName == name })
}

func (s *server) remove(gone *device) {
	s.Devices = slices.DeleteFunc(s.Devices, func(d *device) bool { return d == gone })
}

// add makes a device with the next address and a name that nobody else has.
func (s *server) add(machine key.MachinePublic, hostname string) *device {
	id := s.NextID
	s.NextID++
	v4 := netip.AddrFrom4([4]byte{100, 64, byte(id >> 8), byte(id)})
	addresses := []netip.Prefix{netip.PrefixFrom(v4, 32), netip.PrefixFrom(tsaddr.Tailscale4To6(v4), 128)}
	base := strings.ToLower(strings.Trim(hostname, "."))
	name := base
	for n := 1; s.byName(name) != nil; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	d := &device{Node: &tailcfg.Node{
		ID: tailcfg.NodeID(id), StableID: tailcfg.StableNodeID(fmt.Sprintf("n%d", id)), User: 1, Machine: machine,
		Name: name + "." + s.domain + ".", ComputedName: name, Addresses: addresses, AllowedIPs: addresses,
		Created: time.Now().UTC(),
	}}
	s.Devices = append(s.Devices, d)
	return d
}

func (d *device) expired() bool {
	return !d.Node.KeyExpiry.IsZero() && d.Node.KeyExpiry.Before(time.Now())
}
