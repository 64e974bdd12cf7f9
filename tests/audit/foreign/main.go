// Command foreign verifies a log with the packages behind Go's checksum database and nothing of
// ours: the note, every entry, every tile, and proofs read from the tiles.
//
//	foreign FOLDER VKEY
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type folder string

func (f folder) Height() int { return 8 }

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		content, err := os.ReadFile(filepath.Join(string(f), strings.Replace(t.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		data = append(data, content)
	}
	return data, nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	log.SetFlags(0)
	f := folder(os.Args[1])
	verifier, err := note.NewVerifier(os.Args[2])
	check(err)
	signed, err := os.ReadFile(filepath.Join(string(f), "checkpoint"))
	check(err)
	n, err := note.Open(signed, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(n.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	raw, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], raw)

	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, err error) {
		for _, i := range indexes {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	})
	for i := int64(0); i < size; {
		bundle := tlog.Tile{H: 8, L: -1, N: i / 256, W: int(min(256, size-i/256*256))}
		path := strings.Replace(bundle.Path(), "tile/8/data/", "tile/entries/", 1)
		content, err := os.ReadFile(filepath.Join(string(f), path))
		check(err)
		for len(content) > 0 {
			end := 2 + int(binary.BigEndian.Uint16(content))
			hashes, err := tlog.StoredHashes(i, content[2:end], reader)
			check(err)
			stored = append(stored, hashes...)
			content = content[end:]
			i++
		}
	}
	root, err := tlog.TreeHash(size, reader)
	check(err)
	if root != tree.Hash {
		log.Fatalf("the entries have the root %v, the checkpoint says %v", root, tree.Hash)
	}
	for _, t := range tlog.NewTiles(8, 0, size) {
		if t.W < 256 && int64(t.W) != size>>(8*t.L)%256 {
			continue // a partial tile of a smaller tree
		}
		computed, err := tlog.ReadTileData(t, reader)
		check(err)
		read, err := f.ReadTiles([]tlog.Tile{t})
		check(err)
		if string(computed) != string(read[0]) {
			log.Fatalf("%s is not what the entries lead to", t.Path())
		}
	}
	tiles := tlog.TileHashReader(tree, f)
	for _, i := range []int64{0, size / 3, size - 1} {
		proof, err := tlog.ProveRecord(size, i, tiles)
		check(err)
		check(tlog.CheckRecord(proof, size, root, i, stored[tlog.StoredHashIndex(0, i)]))
		old, err := tlog.TreeHash(i+1, tiles)
		check(err)
		prefix, err := tlog.ProveTree(size, i+1, tiles)
		check(err)
		check(tlog.CheckTree(prefix, size, root, i+1, old))
	}
	fmt.Printf("%s: %d entries, root %v\n", lines[0], size, root)
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}
