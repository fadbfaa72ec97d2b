namespace Qcow2Bitmaps.Format;

/// <summary>Feature bits that a reader may ignore (header offset 80). Spec: "Header", compatible_features.</summary>
[Flags]
internal enum CompatibleFeatures : ulong
{
    /// <summary>No bit is set.</summary>
    None = 0,
    /// <summary>Refcounts may be written late; the dirty bit is set while they are stale.</summary>
    LazyRefcounts = 1 << 0,
}
