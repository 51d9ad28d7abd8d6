// Package gc is the one way in which objects leave a tree.
//
// Objects leave in the opposite order of publication (I2, I3): realisations,
// then narinfos, each before the ones that it refers to, then what belongs to
// them, and NARs last. A process that dies in between leaves a valid tree, and
// files that nothing leads to.
package gc
