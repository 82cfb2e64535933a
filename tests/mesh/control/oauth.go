package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const tokenLife = time.Hour

// oauthClient makes keys for machines with its tags; its secret is what a person gives in place of a key.
type oauthClient struct {
	Tags    []string
	Revoked bool
	Made    []madeKey
}

// madeKey is what was asked for when a machine made a key of a client's secret.
type madeKey struct {
	Ephemeral     bool
	Preauthorized bool
	Tags          []string
}

// oauthMux is the part of the vendor's public interface that `tailscale up` makes a key with.
func (s *server) oauthMux(mux *http.ServeMux) {
	mux.HandleFunc("POST /api/v2/oauth/token", func(w http.ResponseWriter, r *http.Request) {
		secret := r.FormValue("client_secret")
		if _, basic, ok := r.BasicAuth(); ok {
			secret, _ = url.QueryUnescape(basic)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if c := s.Clients[secret]; c == nil || c.Revoked {
			w.WriteHeader(http.StatusUnauthorized)
			json.NewEncoder(w).Encode(map[string]string{"message": "API token invalid"})
			return
		}
		token := rand.Text()
		s.tokens[token] = secret
		json.NewEncoder(w).Encode(map[string]any{
			"access_token": token, "token_type": "Bearer", "expires_in": int(tokenLife.Seconds()),
		})
	})
	mux.HandleFunc("POST /api/v2/tailnet/-/keys", func(w http.ResponseWriter, r *http.Request) {
		asked, ok := read[struct {
			Capabilities struct {
				Devices struct {
					Create struct {
						Reusable, Ephemeral, Preauthorized bool
						Tags                               []string
					}
				}
			}
		}](w, r)
		if !ok {
			return
		}
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		refuse := func(status int, message string) {
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]string{"message": message})
		}
		c := s.Clients[s.tokens[token]]
		if c == nil || c.Revoked {
			refuse(http.StatusUnauthorized, "API token invalid")
			return
		}
		create := asked.Capabilities.Devices.Create
		if len(create.Tags) == 0 {
			refuse(http.StatusBadRequest, "tags are required")
			return
		}
		for _, tag := range create.Tags {
			if !slices.Contains(c.Tags, tag) {
				refuse(http.StatusBadRequest, fmt.Sprintf("requested tags [%s] are invalid or not permitted", tag))
				return
			}
		}
		c.Made = append(c.Made, madeKey{create.Ephemeral, create.Preauthorized, create.Tags})
		key := "tskey-auth-" + rand.Text()
		s.Keys[key] = &authKey{
			Tags: create.Tags, Reusable: create.Reusable, Ephemeral: create.Ephemeral, Preauthorized: create.Preauthorized,
		}
		s.save()
		json.NewEncoder(w).Encode(map[string]any{"id": "k1", "key": key, "capabilities": asked.Capabilities})
	})
}

// adminClients is the tests' own side of it.
func (s *server) adminClients(mux *http.ServeMux) {
	mux.HandleFunc("POST /clients", func(w http.ResponseWriter, r *http.Request) {
		asked, ok := read[struct {
			Secret string
			Tags   []string
		}](w, r)
		if !ok {
			return
		}
		if asked.Secret == "" {
			asked.Secret = "tskey-client-" + rand.Text()
		}
		s.change(w, func() any {
			s.Clients[asked.Secret] = &oauthClient{Tags: asked.Tags}
			return map[string]string{"secret": asked.Secret}
		})
	})
	mux.HandleFunc("POST /clients/revoke", func(w http.ResponseWriter, r *http.Request) {
		asked, ok := read[struct{ Secret string }](w, r)
		if !ok {
			return
		}
		s.change(w, func() any {
			if c := s.Clients[asked.Secret]; c != nil {
				c.Revoked = true
				return true
			}
			return nil
		})
	})
	mux.HandleFunc("GET /clients/made", func(w http.ResponseWriter, r *http.Request) {
		s.change(w, func() any {
			if c := s.Clients[r.FormValue("secret")]; c != nil {
				return append([]madeKey{}, c.Made...)
			}
			return nil
		})
	})
}
