namespace Qcow2Bitmaps.Format;

/// <summary>A table as a structure on disk names it, unchecked.</summary>
/// <param name="Offset">Where it starts in the file, in bytes.</param>
/// <param name="Entries">How many entries it has.</param>
/// <param name="EntryBytes">The size of an entry.</param>
internal readonly record struct StoredTable(ulong Offset, ulong Entries, ulong EntryBytes = ImageGeometry.TableEntryBytes);
