package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"tailscale.com/control/controlhttp/controlhttpserver"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/util/zstdframe"
)

const keepAlive = 50 * time.Second

type machineContext struct{}

// nodeMux answers what daemons ask. Whatever else comes along is answered with 404.
func (s *server) nodeMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /key", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(tailcfg.OverTLSPublicKeyResponse{PublicKey: s.Noise.Public()})
	})
	s.oauthMux(mux)
	inner := http.NewServeMux()
	inner.HandleFunc("POST /machine/register", s.register)
	inner.HandleFunc("POST /machine/map", s.netmap)
	inner.HandleFunc("POST /machine/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/ts2021", func(w http.ResponseWriter, r *http.Request) {
		conn, err := controlhttpserver.AcceptHTTP(r.Context(), w, r, s.Noise, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		ctx := context.WithValue(r.Context(), machineContext{}, conn.Peer())
		new(http2.Server).ServeConn(conn, &http2.ServeConnOpts{Context: ctx, BaseConfig: &http.Server{Handler: inner}})
	})
	return mux
}

func read[T any](w http.ResponseWriter, r *http.Request) (*T, bool) {
	into := new(T)
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, false
	}
	return into, true
}

func (s *server) register(w http.ResponseWriter, r *http.Request) {
	req, ok := read[tailcfg.RegisterRequest](w, r)
	if !ok {
		return
	}
	machine := r.Context().Value(machineContext{}).(key.MachinePublic)
	if req.Followup != "" {
		<-r.Context().Done() // nobody ever visits the page
		return
	}
	s.mu.Lock()
	res := s.registered(machine, req)
	s.save()
	s.mu.Unlock()
	json.NewEncoder(w).Encode(res)
}

// registered decides about one registration; s.mu is held.
func (s *server) registered(machine key.MachinePublic, req *tailcfg.RegisterRequest) *tailcfg.RegisterResponse {
	d := s.byKey(req.NodeKey)
	if d == nil && !req.OldNodeKey.IsZero() {
		d = s.byKey(req.OldNodeKey)
	}
	if d != nil && d.Node.Machine != machine {
		return &tailcfg.RegisterResponse{Error: "this node key belongs to another machine"}
	}
	if !req.Expiry.IsZero() && req.Expiry.Before(time.Now()) { // a logout
		if d != nil && d.Ephemeral {
			s.remove(d)
		} else if d != nil {
			d.Node.KeyExpiry = time.Now().Add(-time.Minute).UTC()
		}
		return &tailcfg.RegisterResponse{NodeKeyExpired: true, MachineAuthorized: true}
	}
	if req.Auth == nil || req.Auth.AuthKey == "" {
		if d == nil {
			return &tailcfg.RegisterResponse{AuthURL: s.url + "/login/" + strconv.Itoa(s.NextID)}
		}
		if d.expired() {
			return &tailcfg.RegisterResponse{NodeKeyExpired: true, MachineAuthorized: d.Node.MachineAuthorized}
		}
		d.Node.Key = req.NodeKey
		return accepted(d)
	}
	k, fault := s.usable(req.Auth.AuthKey)
	if fault != "" {
		return &tailcfg.RegisterResponse{Error: fault}
	}
	var requested []string
	if req.Hostinfo != nil {
		requested = req.Hostinfo.RequestTags
	}
	tags := slices.Clone(k.Tags)
	for _, tag := range requested {
		if !slices.Contains(k.Tags, tag) && !slices.Contains(s.Policy.Tags, tag) {
			return &tailcfg.RegisterResponse{Error: fmt.Sprintf("requested tags [%s] are invalid or not permitted", tag)}
		}
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	k.Uses++
	if d == nil {
		d = s.byMachine(machine)
	}
	if d == nil {
		d = s.add(machine, req.Hostinfo.Hostname)
	}
	slices.Sort(tags)
	d.Ephemeral = k.Ephemeral
	d.LastSeen = time.Now()
	d.Node.Key, d.Node.Tags, d.Node.KeyExpiry, d.Node.Cap = req.NodeKey, tags, time.Time{}, req.Version
	d.Node.MachineAuthorized = d.Node.MachineAuthorized || k.Preauthorized || !s.Policy.Approve
	d.Node.Hostinfo = req.Hostinfo.View()
	return accepted(d)
}

func accepted(d *device) *tailcfg.RegisterResponse {
	return &tailcfg.RegisterResponse{
		User:              tailcfg.User{ID: 1, DisplayName: "mesh"},
		Login:             tailcfg.Login{ID: 1, LoginName: "mesh@mesh.test", DisplayName: "mesh"},
		MachineAuthorized: d.Node.MachineAuthorized,
	}
}

// usable gives the key, or what a real control server says of one that is of no use.
func (s *server) usable(text string) (*authKey, string) {
	name, _, _ := strings.Cut(text, "?")
	k := s.Keys[name]
	switch {
	case k == nil || k.Revoked:
		return nil, "invalid key: API key does not exist"
	case !k.Expires.IsZero() && k.Expires.Before(time.Now()):
		return nil, "authkey expired"
	case !k.Reusable && k.Uses > 0:
		return nil, "authkey already used"
	}
	return k, ""
}

func (s *server) netmap(w http.ResponseWriter, r *http.Request) {
	req, ok := read[tailcfg.MapRequest](w, r)
	if !ok {
		return
	}
	machine := r.Context().Value(machineContext{}).(key.MachinePublic)
	s.mu.Lock()
	d := s.byKey(req.NodeKey)
	if d == nil || d.Node.Machine != machine {
		s.mu.Unlock()
		http.Error(w, "node not found", http.StatusNotFound)
		return
	}
	d.LastSeen = time.Now()
	if !req.ReadOnly && !req.Stream {
		d.Node.Endpoints, d.Node.DiscoKey, d.Node.Cap = req.Endpoints, req.DiscoKey, req.Version
		if req.Hostinfo != nil {
			d.Node.Hostinfo = req.Hostinfo.View()
			if net := req.Hostinfo.NetInfo; net != nil && net.PreferredDERP != 0 {
				d.Node.HomeDERP = net.PreferredDERP
			}
		}
		s.save()
	}
	if !req.Stream {
		first := s.response(d, nil)
		s.mu.Unlock()
		send(w, req, first)
		return
	}
	d.streams++
	s.save()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		d.streams--
		d.LastSeen = time.Now()
		s.save()
		s.mu.Unlock()
	}()
	s.stream(w, r, req)
}

// stream sends the map whenever anything has changed, until the node goes or is deleted.
func (s *server) stream(w http.ResponseWriter, r *http.Request, req *tailcfg.MapRequest) {
	var known []tailcfg.NodeID
	for first := true; ; first = false {
		s.mu.Lock()
		d, changed := s.byKey(req.NodeKey), s.changed
		if d == nil {
			s.mu.Unlock()
			return
		}
		res := s.response(d, known)
		s.mu.Unlock()
		known = known[:0:0]
		for _, peer := range res.Peers {
			known = append(known, peer.ID)
		}
		if !first {
			// A whole list that happens to be empty would read as no change.
			res.PeersChanged, res.Peers = res.Peers, nil
		}
		if !send(w, req, res) {
			return
		}
		for waiting := true; waiting; {
			select {
			case <-r.Context().Done():
				return
			case <-changed:
				waiting = false
			case <-time.After(keepAlive):
				if !send(w, req, &tailcfg.MapResponse{KeepAlive: true}) {
					return
				}
			}
		}
	}
}

// response is the map as one node sees it; s.mu is held.
func (s *server) response(d *device, known []tailcfg.NodeID) *tailcfg.MapResponse {
	now := time.Now().UTC()
	res := &tailcfg.MapResponse{
		Node: d.Node.Clone(), DERPMap: s.derp, Domain: s.domain, ControlTime: &now, CollectServices: "false",
		DNSConfig:    &tailcfg.DNSConfig{},
		UserProfiles: []tailcfg.UserProfile{{ID: 1, LoginName: "mesh@mesh.test", DisplayName: "mesh"}},
		PacketFilter: s.filter(d), Peers: []*tailcfg.Node{},
	}
	for _, other := range s.Devices {
		if other == d || other.expired() || !other.Node.MachineAuthorized || !d.Node.MachineAuthorized {
			continue
		}
		peer := other.Node.Clone()
		online, seen := other.streams > 0, other.LastSeen.UTC()
		peer.Online, peer.LastSeen = &online, &seen
		res.Peers = append(res.Peers, peer)
	}
	for _, id := range known {
		if !slices.ContainsFunc(res.Peers, func(peer *tailcfg.Node) bool { return peer.ID == id }) {
			res.PeersRemoved = append(res.PeersRemoved, id)
		}
	}
	return res
}

// filter is what the policy lets in at one node.
func (s *server) filter(d *device) []tailcfg.FilterRule {
	if len(s.Policy.Rules) == 0 {
		return tailcfg.FilterAllowAll
	}
	rules := []tailcfg.FilterRule{}
	for _, rule := range s.Policy.Rules {
		if !slices.Contains(d.Node.Tags, rule.Dst) {
			continue
		}
		var sources []string
		for _, other := range s.Devices {
			if slices.ContainsFunc(other.Node.Tags, func(tag string) bool { return slices.Contains(rule.Src, tag) }) {
				for _, address := range other.Node.Addresses {
					sources = append(sources, address.Addr().String())
				}
			}
		}
		var ports []tailcfg.NetPortRange
		for _, text := range rule.Ports {
			var span tailcfg.PortRange
			if text == "*" {
				span = tailcfg.PortRangeAny
			} else {
				low, high, ranged := strings.Cut(text, "-")
				if !ranged {
					high = low
				}
				from, _ := strconv.ParseUint(low, 10, 16)
				to, _ := strconv.ParseUint(high, 10, 16)
				span = tailcfg.PortRange{First: uint16(from), Last: uint16(to)}
			}
			for _, address := range d.Node.Addresses {
				ports = append(ports, tailcfg.NetPortRange{IP: address.Addr().String(), Ports: span})
			}
		}
		if len(sources) > 0 {
			rules = append(rules, tailcfg.FilterRule{SrcIPs: sources, DstPorts: ports})
		}
	}
	return rules
}

// send writes one framed message, compressed where the node asked for it.
func send(w http.ResponseWriter, req *tailcfg.MapRequest, res *tailcfg.MapResponse) bool {
	body, err := json.Marshal(res)
	check(err)
	if req.Compress == "zstd" {
		body = zstdframe.AppendEncode(nil, body, zstdframe.FastestCompression)
	}
	if _, err := w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		return false
	}
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
	return true
}
