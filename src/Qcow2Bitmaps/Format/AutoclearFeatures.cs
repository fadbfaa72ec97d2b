namespace Qcow2Bitmaps.Format;

/// <summary>Feature bits that a writer clears when it does not know them (header offset 88). Spec: "Header", autoclear_features.</summary>
[Flags]
internal enum AutoclearFeatures : ulong
{
    /// <summary>No bit is set.</summary>
    None = 0,
    /// <summary>The bitmaps extension agrees with the guest data.</summary>
    Bitmaps = 1 << 0,
    /// <summary>The external data file can be read as a raw image.</summary>
    RawExternalData = 1 << 1,
}
