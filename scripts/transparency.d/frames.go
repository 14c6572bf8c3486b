package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A peer that speaks HTTP/2 frame by frame, to see and send what libraries hide.
type peer struct {
	conn    net.Conn
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
}

// speaking opens an HTTP/2 connection, says etcd's settings, and lets the conversation begin.
func speaking(name string, converse func(*target, *transcript, *peer)) behaviour {
	return behaviour{"frames: " + name, func(t *target, said *transcript) {
		conn, err := t.connect("h2")
		if err != nil {
			said.say("%v", err)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(callTimeout))
		p := &peer{conn: conn, framer: http2.NewFramer(conn, conn)}
		p.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		p.encoder = hpack.NewEncoder(&p.block)
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = p.framer.WriteSettings()
		converse(t, said, p)
	}}
}

// ask sends the headers of a request.
func (p *peer) ask(t *target, stream uint32, end bool, path string, more ...string) {
	p.askAs(t, "application/grpc", stream, end, path, more...)
}

// askAs sends the headers of a request with a content type.
func (p *peer) askAs(t *target, contentType string, stream uint32, end bool, path string, more ...string) {
	scheme := "http"
	if t.tls != nil {
		scheme = "https"
	}
	fields := append([]string{
		":method", "POST", ":scheme", scheme, ":path", path, ":authority", t.address,
		"content-type", contentType, "te", "trailers", "user-agent", "frames",
	}, more...)
	p.block.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.block.Bytes(), EndStream: end, EndHeaders: true})
}

// message is a gRPC message of a Range for a key.
func message(key string) []byte {
	body, _ := (&pb.RangeRequest{Key: []byte(key)}).Marshal()
	framed := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	return append(framed, body...)
}

// hear says frames until one satisfies the condition, or the connection ends.
func (p *peer) hear(said *transcript, until func(http2.Frame) bool) {
	for {
		frame, err := p.framer.ReadFrame()
		if err != nil {
			// How a connection is torn down differs between runs: with or without what was under way.
			if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset by peer") || strings.Contains(err.Error(), "broken pipe") {
				said.say("the connection ends")
			} else if errors.Is(err, os.ErrDeadlineExceeded) {
				said.say("nothing more comes")
			} else {
				said.say("%v", err)
			}
			return
		}
		sayFrame(said, frame)
		if until(frame) {
			return
		}
	}
}

func sayFrame(said *transcript, frame http2.Frame) {
	head := frame.Header()
	end := ""
	if head.Flags.Has(http2.FlagDataEndStream) && (head.Type == http2.FrameData || head.Type == http2.FrameHeaders) {
		end = " END_STREAM"
	}
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		var values []string
		_ = frame.ForeachSetting(func(setting http2.Setting) error {
			values = append(values, setting.String())
			return nil
		})
		said.say("SETTINGS ack=%v %s", frame.IsAck(), strings.Join(values, " "))
	case *http2.MetaHeadersFrame:
		var fields []string
		for _, field := range frame.Fields {
			if field.Name == "date" {
				field.Value = "…"
			}
			fields = append(fields, fmt.Sprintf("%s=%q", field.Name, field.Value))
		}
		said.say("HEADERS %d%s %s", head.StreamID, end, strings.Join(fields, " "))
	case *http2.DataFrame:
		said.say("DATA %d%s %d bytes", head.StreamID, end, len(frame.Data()))
	case *http2.RSTStreamFrame:
		said.say("RST_STREAM %d %v", head.StreamID, frame.ErrCode)
	case *http2.GoAwayFrame:
		said.say("GOAWAY last %d %v %q", frame.LastStreamID, frame.ErrCode, frame.DebugData())
	case *http2.PingFrame:
		// Pings by which the server measures its windows come or not, depending on time.
		if frame.IsAck() {
			said.say("PING ack %x", frame.Data)
		}
	case *http2.WindowUpdateFrame:
		// How a server hands out its window depends on how bytes arrive.
	default:
		said.say("%v", head.Type)
	}
}

func endOf(stream uint32) func(http2.Frame) bool {
	return func(frame http2.Frame) bool {
		head := frame.Header()
		ends := head.Flags.Has(http2.FlagDataEndStream) && (head.Type == http2.FrameData || head.Type == http2.FrameHeaders)
		return head.StreamID == stream && (ends || head.Type == http2.FrameRSTStream)
	}
}

func is(kind http2.FrameType) func(http2.Frame) bool {
	return func(frame http2.Frame) bool { return frame.Header().Type == kind }
}

func pong(frame http2.Frame) bool {
	ping, ok := frame.(*http2.PingFrame)
	return ok && ping.IsAck()
}

// How long what does not come is waited for.
const quietTimeout = 3 * time.Second

const rangePath = "/etcdserverpb.KV/Range"

func frames() []behaviour {
	return []behaviour{
		speaking("settings, ping, an ordinary call", func(t *target, said *transcript, p *peer) {
			p.hear(said, is(http2.FrameSettings))
			_ = p.framer.WritePing(false, [8]byte{1, 2, 3, 4, 5, 6, 7, 8})
			p.hear(said, pong)
			p.ask(t, 1, false, rangePath)
			_ = p.framer.WriteData(1, true, message("/none"))
			p.hear(said, endOf(1))
		}),
		speaking("a message in pieces, with padding and an empty frame", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, rangePath)
			all := message("/a-key-that-is-split")
			_ = p.framer.WriteDataPadded(1, false, all[:3], make([]byte, 10))
			_ = p.framer.WriteData(1, false, nil)
			_ = p.framer.WriteData(1, false, all[3:9])
			_ = p.framer.WriteData(1, true, all[9:])
			p.hear(said, endOf(1))
		}),
		speaking("trailers only: an error without a message", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, "/etcdserverpb.KV/None")
			_ = p.framer.WriteData(1, true, message("/a"))
			p.hear(said, endOf(1))
		}),
		speaking("an error in a call that was understood", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, rangePath)
			_ = p.framer.WriteData(1, true, message(""))
			p.hear(said, endOf(1))
		}),
		speaking("no message at all", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, true, rangePath)
			// Over plain text etcd waits for a message for ever.
			_ = p.conn.SetDeadline(time.Now().Add(quietTimeout))
			p.hear(said, endOf(1))
		}),
		speaking("a message that is no protobuf", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, rangePath)
			_ = p.framer.WriteData(1, true, []byte{0, 0, 0, 0, 3, 0xff, 0xff, 0xff})
			p.hear(said, endOf(1))
		}),
		speaking("a message cut short", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, rangePath)
			_ = p.framer.WriteData(1, true, message("/a")[:6])
			p.hear(said, endOf(1))
		}),
		speaking("a message said to be larger than allowed", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, rangePath)
			_ = p.framer.WriteData(1, true, []byte{0, 0x7f, 0xff, 0xff, 0xff, 1})
			p.hear(said, endOf(1))
		}),
		speaking("a message compressed in a way that is unknown", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, rangePath, "grpc-encoding", "none-such")
			_ = p.framer.WriteData(1, true, message("/a"))
			p.hear(said, endOf(1))
		}),
		speaking("another content type", func(t *target, said *transcript, p *peer) {
			p.askAs(t, "text/plain", 1, true, rangePath)
			p.hear(said, endOf(1))
		}),
		speaking("a timeout that is no number", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, rangePath, "grpc-timeout", "soon")
			_ = p.framer.WriteData(1, true, message("/a"))
			p.hear(said, endOf(1))
		}),
		speaking("a call that is reset, then another", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, rangePath)
			_ = p.framer.WriteRSTStream(1, http2.ErrCodeCancel)
			p.ask(t, 3, false, rangePath)
			_ = p.framer.WriteData(3, true, message("/none"))
			p.hear(said, endOf(3))
		}),
		speaking("a header block in continuations", func(t *target, said *transcript, p *peer) {
			p.block.Reset()
			fields := []string{":method", "POST", ":scheme", "http", ":path", rangePath, ":authority", t.address, "content-type", "application/grpc", "te", "trailers"}
			for i := 0; i < len(fields); i += 2 {
				_ = p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
			}
			block := bytes.Clone(p.block.Bytes())
			_ = p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:5]})
			_ = p.framer.WriteContinuation(1, false, block[5:9])
			_ = p.framer.WriteContinuation(1, true, block[9:])
			_ = p.framer.WriteData(1, true, message("/none"))
			p.hear(said, endOf(1))
		}),
		speaking("a stream id that goes backwards", func(t *target, said *transcript, p *peer) {
			p.ask(t, 3, false, rangePath)
			_ = p.framer.WriteData(3, true, message("/none"))
			p.hear(said, endOf(3))
			p.ask(t, 1, true, rangePath)
			p.hear(said, is(http2.FrameGoAway))
		}),
		speaking("an unknown frame type, which is to be ignored", func(t *target, said *transcript, p *peer) {
			_ = p.framer.WriteRawFrame(0xfa, 0, 0, []byte("hello"))
			p.ask(t, 1, false, rangePath)
			_ = p.framer.WriteData(1, true, message("/none"))
			p.hear(said, endOf(1))
		}),
		speaking("more pings than allowed", func(_ *target, said *transcript, p *peer) {
			for i := range 6 {
				if p.framer.WritePing(false, [8]byte{byte(i)}) != nil {
					break
				}
			}
			p.hear(said, func(frame http2.Frame) bool {
				ping, ok := frame.(*http2.PingFrame)
				return is(http2.FrameGoAway)(frame) || ok && ping.IsAck() && ping.Data[0] == 5
			})
		}),
		speaking("the client says GOAWAY and still gets its answer", func(t *target, said *transcript, p *peer) {
			// Settings are over with first: a server may acknowledge them before or after it says GOAWAY itself.
			_ = p.framer.WritePing(false, [8]byte{1})
			p.hear(said, pong)
			p.ask(t, 1, false, rangePath)
			_ = p.framer.WriteGoAway(0, http2.ErrCodeNo, nil)
			_ = p.framer.WriteData(1, true, message("/none"))
			p.hear(said, endOf(1))
		}),
		speaking("the client closes its side of TCP after asking", func(t *target, said *transcript, p *peer) {
			p.ask(t, 1, false, rangePath)
			_ = p.framer.WriteData(1, true, message("/none"))
			p.hear(said, endOf(1))
			if half, ok := p.conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
			p.hear(said, func(http2.Frame) bool { return false })
		}),
		{"frames: a preface that is none", func(t *target, said *transcript) {
			conn, err := t.connect("h2")
			if err != nil {
				said.say("%v", err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(callTimeout))
			_, _ = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
			// Its settings may be on their way already when it sees what was sent.
			_, err = io.Copy(io.Discard, conn)
			said.say("closed: %v", err == nil)
		}},
	}
}
