// A monitoring station on GoBGP's BMP parser: listens, decodes every message, and prints each as a line of JSON.
// What the parser refuses, or what the message has left over, is an error, and ends it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/osrg/gobgp/v3/pkg/packet/bmp"
)

type route struct {
	Prefix      string   `json:"prefix"`
	NextHop     string   `json:"nextHop"`
	ASPath      []uint32 `json:"asPath"`
	MED         *uint32  `json:"med"`
	LocalPref   *uint32  `json:"localPreference"`
	Communities []uint32 `json:"communities"`
	PathID      uint32   `json:"pathId"`
}

type line struct {
	Kind       string            `json:"kind"`
	Connection int               `json:"connection"`
	PeerType   uint8             `json:"peerType"`
	Flags      uint8             `json:"flags"`
	Address    string            `json:"address"`
	AS         uint32            `json:"as"`
	ID         string            `json:"id"`
	Announced  []route           `json:"announced,omitempty"`
	Withdrawn  []string          `json:"withdrawn,omitempty"`
	EndOfRIB   string            `json:"endOfRib,omitempty"`
	Reason     uint8             `json:"reason,omitempty"`
	Code       [2]uint8          `json:"code"`
	Sent       *open             `json:"sent,omitempty"`
	Received   *open             `json:"received,omitempty"`
	Local      string            `json:"local,omitempty"`
	Ports      [2]uint16         `json:"ports"`
	Statistics map[string]uint64 `json:"statistics,omitempty"`
	Texts      []string          `json:"texts,omitempty"`
}

type open struct {
	AS           uint16 `json:"as"`
	ID           string `json:"id"`
	HoldTime     uint16 `json:"holdTime"`
	Capabilities []int  `json:"capabilities"`
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func openOf(message *bgp.BGPMessage) *open {
	body, ok := message.Body.(*bgp.BGPOpen)
	if !ok {
		fail("no OPEN in a Peer Up: %T", message.Body)
	}
	found := &open{AS: body.MyAS, ID: body.ID.String(), HoldTime: body.HoldTime, Capabilities: []int{}}
	for _, parameter := range body.OptParams {
		if capabilities, ok := parameter.(*bgp.OptionParameterCapability); ok {
			for _, capability := range capabilities.Capability {
				found.Capabilities = append(found.Capabilities, int(capability.Code()))
			}
		}
	}
	return found
}

func update(message *bgp.BGPMessage, out *line) {
	body, ok := message.Body.(*bgp.BGPUpdate)
	if !ok {
		fail("no UPDATE in a Route Monitoring: %T", message.Body)
	}
	if end, family := body.IsEndOfRib(); end {
		out.EndOfRIB = family.String()
		return
	}
	shared := route{ASPath: []uint32{}, Communities: []uint32{}}
	var announced []bgp.AddrPrefixInterface
	for _, prefix := range body.WithdrawnRoutes {
		out.Withdrawn = append(out.Withdrawn, prefix.String())
	}
	for _, prefix := range body.NLRI {
		announced = append(announced, prefix)
	}
	for _, attribute := range body.PathAttributes {
		switch value := attribute.(type) {
		case *bgp.PathAttributeNextHop:
			shared.NextHop = value.Value.String()
		case *bgp.PathAttributeAsPath:
			for _, segment := range value.Value {
				shared.ASPath = append(shared.ASPath, segment.GetAS()...)
			}
		case *bgp.PathAttributeMultiExitDisc:
			shared.MED = &value.Value
		case *bgp.PathAttributeLocalPref:
			shared.LocalPref = &value.Value
		case *bgp.PathAttributeCommunities:
			shared.Communities = value.Value
		case *bgp.PathAttributeMpReachNLRI:
			shared.NextHop = value.Nexthop.String()
			announced = append(announced, value.Value...)
		case *bgp.PathAttributeMpUnreachNLRI:
			for _, prefix := range value.Value {
				out.Withdrawn = append(out.Withdrawn, prefix.String())
			}
		}
	}
	for _, prefix := range announced {
		one := shared
		one.Prefix, one.PathID = prefix.String(), prefix.PathIdentifier()
		out.Announced = append(out.Announced, one)
	}
}

func texts(information []bmp.BMPInfoTLVInterface) (all []string) {
	for _, tlv := range information {
		if text, ok := tlv.(*bmp.BMPInfoTLVString); ok {
			all = append(all, text.Value)
		} else {
			all = append(all, fmt.Sprintf("%+v", tlv))
		}
	}
	return all
}

func describe(message *bmp.BMPMessage) line {
	header := message.PeerHeader
	out := line{PeerType: header.PeerType, Flags: header.Flags, AS: header.PeerAS}
	if header.PeerAddress != nil {
		out.Address = header.PeerAddress.String()
	}
	if header.PeerBGPID != nil {
		out.ID = header.PeerBGPID.String()
	}
	switch body := message.Body.(type) {
	case *bmp.BMPInitiation:
		out.Kind, out.Texts = "initiation", texts(body.Info)
	case *bmp.BMPTermination:
		out.Kind = "termination"
		for _, tlv := range body.Info {
			if text, ok := tlv.(*bmp.BMPTermTLVString); ok {
				out.Texts = append(out.Texts, text.Value)
			}
		}
	case *bmp.BMPRouteMonitoring:
		out.Kind = "route"
		update(body.BGPUpdate, &out)
	case *bmp.BMPPeerUpNotification:
		out.Kind, out.Local = "up", body.LocalAddress.String()
		out.Ports = [2]uint16{body.LocalPort, body.RemotePort}
		out.Sent, out.Received = openOf(body.SentOpenMsg), openOf(body.ReceivedOpenMsg)
	case *bmp.BMPPeerDownNotification:
		out.Kind, out.Reason = "down", body.Reason
		if body.BGPNotification != nil {
			sent := body.BGPNotification.Body.(*bgp.BGPNotification)
			out.Code = [2]uint8{sent.ErrorCode, sent.ErrorSubcode}
		}
	case *bmp.BMPStatisticsReport:
		out.Kind, out.Statistics = "statistics", map[string]uint64{}
		for _, tlv := range body.Stats {
			switch value := tlv.(type) {
			case *bmp.BMPStatsTLV32:
				out.Statistics[fmt.Sprint(value.Type)] = uint64(value.Value)
			case *bmp.BMPStatsTLV64:
				out.Statistics[fmt.Sprint(value.Type)] = value.Value
			case *bmp.BMPStatsTLVPerAfiSafi64:
				out.Statistics[fmt.Sprintf("%d/%d/%d", value.Type, value.AFI, value.SAFI)] = value.Value
			}
		}
	default:
		fail("unknown message: %T", message.Body)
	}
	return out
}

func main() {
	address := flag.String("listen", "0.0.0.0:11019", "where to listen")
	pause := flag.Duration("pause", 0, "between two reads of 4 KiB: a station that reads slowly")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		fail("%v", err)
	}
	out := json.NewEncoder(os.Stdout)
	for number := 1; ; number++ {
		connection, err := listener.Accept()
		if err != nil {
			fail("%v", err)
		}
		_ = out.Encode(line{Kind: "connected", Connection: number})
		var stream io.Reader = connection
		if *pause > 0 {
			_ = connection.(*net.TCPConn).SetReadBuffer(4096)
			stream = slow{connection, *pause}
		}
		serve(bufio.NewReaderSize(stream, 4096), number, out)
		connection.Close()
		_ = out.Encode(line{Kind: "closed", Connection: number})
	}
}

type slow struct {
	from  io.Reader
	pause time.Duration
}

func (s slow) Read(into []byte) (int, error) {
	time.Sleep(s.pause)
	return s.from.Read(into)
}

func serve(stream io.Reader, number int, out *json.Encoder) {
	for {
		head := make([]byte, bmp.BMP_HEADER_SIZE)
		if _, err := io.ReadFull(stream, head); err != nil {
			return
		}
		header := &bmp.BMPHeader{}
		if err := header.DecodeFromBytes(head); err != nil {
			fail("%v in header %x", err, head)
		}
		body := make([]byte, int(header.Length)-bmp.BMP_HEADER_SIZE)
		if _, err := io.ReadFull(stream, body); err != nil {
			return
		}
		message, err := bmp.ParseBMPMessage(append(head, body...))
		if err != nil {
			fail("%v in message %x%x", err, head, body)
		}
		described := describe(message)
		described.Connection = number
		_ = out.Encode(described)
	}
}
