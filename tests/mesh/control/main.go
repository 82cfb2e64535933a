// Control is a small coordination server for the tests of the mesh: real tailscaled daemons join it with keys that can be
// one-use, tagged, ephemeral, expired or revoked. It has a relay of its own, keeps its state in one file so that it can be
// stopped and started again, and is no server for anything but tests.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stunserver"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address that nodes reach; its port is kept in the state")
	admin := flag.String("admin", "127.0.0.1:0", "address of the tests' own interface")
	state := flag.String("state", "control.json", "file that everything is kept in")
	domain := flag.String("domain", "mesh.test", "domain of the nodes' names")
	ephemeral := flag.Duration("ephemeral", 75*time.Second, "an ephemeral node that was not seen for so long is removed")
	flag.Parse()

	s, err := load(*state, *domain)
	check(err)
	host, port, err := net.SplitHostPort(*listen)
	check(err)
	if port == "0" && s.Port != 0 {
		port = strconv.Itoa(s.Port)
	}
	nodes, err := net.Listen("tcp", net.JoinHostPort(host, port))
	check(err)
	s.Port = nodes.Addr().(*net.TCPAddr).Port
	s.url = "http://" + nodes.Addr().String()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	check(s.relay(ctx, host))
	tests, err := net.Listen("tcp", *admin)
	check(err)
	s.mu.Lock()
	s.save()
	s.mu.Unlock()
	go s.forgetEphemeral(ctx, *ephemeral)
	go func() { log.Print(http.Serve(nodes, s.nodeMux())) }()
	go func() { log.Print(http.Serve(tests, s.adminMux())) }()
	check(json.NewEncoder(os.Stdout).Encode(map[string]string{
		"url": s.url, "admin": "http://" + tests.Addr().String(),
	}))
	<-ctx.Done()
}

// relay starts a DERP and a STUN server beside the control server: nodes behind closed firewalls meet through it.
func (s *server) relay(ctx context.Context, host string) error {
	relay := derpserver.New(key.NewNode(), logger.Discard)
	web := httptest.NewUnstartedServer(derpserver.Handler(relay))
	web.Listener.Close()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(s.RelayPort)))
	if err != nil {
		return err
	}
	web.Listener = listener
	web.Config.ErrorLog = logger.StdLogger(logger.Discard)
	web.Config.TLSNextProto = map[string]func(*http.Server, *tlsConn, http.Handler){}
	web.StartTLS()
	s.RelayPort = listener.Addr().(*net.TCPAddr).Port
	stun := stunserver.New(ctx)
	if err := stun.Listen(net.JoinHostPort(host, strconv.Itoa(s.STUNPort))); err != nil {
		return err
	}
	s.STUNPort = int(netip.MustParseAddrPort(stun.LocalAddr().String()).Port())
	go stun.Serve()
	s.derp = &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{900: {
		RegionID: 900, RegionCode: "test", RegionName: "test",
		Nodes: []*tailcfg.DERPNode{{
			Name: "900a", RegionID: 900, HostName: host, IPv4: host, IPv6: "none",
			STUNPort: s.STUNPort, DERPPort: s.RelayPort, InsecureForTests: true,
		}},
	}}}
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
