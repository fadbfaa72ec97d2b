namespace Qcow2Bitmaps;

/// <summary>Feature bits that a reader may ignore (header offset 80). Spec: "Header", compatible_features.</summary>
[Flags]
public enum CompatibleFeatures : ulong
{
    /// <summary>No bit is set.</summary>
    None = 0,
    /// <summary>Refcounts may be written late; the dirty bit says when they are behind.</summary>
    LazyRefcounts = 1 << 0,
}
