// Package orderedmap has the interface of libopenapi's maps. Since no document is read, they are empty for ever.
package orderedmap

import "iter"

// Map is an empty map.
type Map[K comparable, V any] struct{}

// New makes one.
func New[K comparable, V any]() *Map[K, V] { return nil }

// Len is the number of entries.
func Len[K comparable, V any](*Map[K, V]) int { return 0 }

// FromOldest yields the entries.
func (m *Map[K, V]) FromOldest() iter.Seq2[K, V] { return func(func(K, V) bool) {} }

// KeysFromOldest yields the keys.
func (m *Map[K, V]) KeysFromOldest() iter.Seq[K] { return func(func(K) bool) {} }

// Get looks for an entry.
func (m *Map[K, V]) Get(K) (value V, found bool) { return value, false }

// GetOrZero looks for an entry.
func (m *Map[K, V]) GetOrZero(K) (value V) { return value }

// Set would add an entry to what was read from a document.
func (m *Map[K, V]) Set(K, V) (value V, replaced bool) { panic("no document was read") }

// Delete would remove one.
func (m *Map[K, V]) Delete(K) (value V, found bool) { panic("no document was read") }
