package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"time"
)

// adminMux is the tests' own side: keys, devices, policy.
func (s *server) adminMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /keys", func(w http.ResponseWriter, r *http.Request) {
		asked, ok := read[struct {
			authKey
			Key      string
			ExpiresS float64
		}](w, r)
		if !ok {
			return
		}
		if asked.Key == "" {
			asked.Key = "tskey-auth-" + rand.Text()
		}
		if asked.ExpiresS != 0 {
			asked.Expires = time.Now().Add(time.Duration(asked.ExpiresS * float64(time.Second)))
		}
		s.change(w, func() any {
			s.Keys[asked.Key] = &asked.authKey
			return map[string]string{"key": asked.Key}
		})
	})
	mux.HandleFunc("POST /keys/revoke", func(w http.ResponseWriter, r *http.Request) {
		asked, ok := read[struct{ Key string }](w, r)
		if !ok {
			return
		}
		s.change(w, func() any {
			if k := s.Keys[asked.Key]; k != nil {
				k.Revoked = true
				return true
			}
			return nil
		})
	})
	s.adminClients(mux)
	mux.HandleFunc("POST /policy", func(w http.ResponseWriter, r *http.Request) {
		if asked, ok := read[policy](w, r); ok {
			s.change(w, func() any { s.Policy = *asked; return true })
		}
	})
	mux.HandleFunc("GET /keys/uses", func(w http.ResponseWriter, r *http.Request) {
		s.change(w, func() any {
			if k := s.Keys[r.FormValue("key")]; k != nil {
				return k.Uses
			}
			return nil
		})
	})
	mux.HandleFunc("GET /devices", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		list := []map[string]any{}
		for _, d := range s.Devices {
			list = append(list, map[string]any{
				"name": d.Node.ComputedName, "hostname": d.Node.Hostinfo.Hostname(), "tags": d.Node.Tags,
				"address": d.Node.Addresses[0].Addr().String(), "ephemeral": d.Ephemeral, "expired": d.expired(),
				"authorized": d.Node.MachineAuthorized, "online": d.streams > 0,
			})
		}
		json.NewEncoder(w).Encode(list)
	})
	for action, act := range map[string]func(*device){
		"expire":  func(d *device) { d.Node.KeyExpiry = time.Now().Add(-time.Minute).UTC() },
		"delete":  s.remove,
		"approve": func(d *device) { d.Node.MachineAuthorized = true },
	} {
		mux.HandleFunc("POST /devices/{name}/"+action, func(w http.ResponseWriter, r *http.Request) {
			s.change(w, func() any {
				d := s.byName(r.PathValue("name"))
				if d == nil {
					return nil
				}
				act(d)
				return true
			})
		})
	}
	return mux
}

// change runs act with the state held, keeps it, and answers with what act gave; 404 for nil.
func (s *server) change(w http.ResponseWriter, act func() any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := act()
	if answer == nil {
		http.Error(w, "there is no such thing", http.StatusNotFound)
		return
	}
	s.save()
	json.NewEncoder(w).Encode(answer)
}

// forgetEphemeral removes ephemeral devices that went without a word.
func (s *server) forgetEphemeral(ctx context.Context, after time.Duration) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
		s.mu.Lock()
		for _, d := range append([]*device{}, s.Devices...) {
			if d.Ephemeral && d.streams == 0 && time.Since(d.LastSeen) > after {
				s.remove(d)
				s.save()
			}
		}
		s.mu.Unlock()
	}
}
