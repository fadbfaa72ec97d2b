namespace Qcow2Bitmaps.Format;

/// <summary>One header extension: its type and its data, without padding. Spec: "Header extensions".</summary>
internal readonly ref struct HeaderExtension
{
    /// <summary>Bytes before the data: type and length.</summary>
    public const int HeaderBytes = 2 * sizeof(uint);

    internal HeaderExtension(HeaderExtensionType type, ReadOnlySpan<byte> data, int dataOffset)
    {
        Type = type;
        Data = data;
        DataOffset = dataOffset;
    }

    /// <summary>The type; values outside the enumeration are kept as they are.</summary>
    public HeaderExtensionType Type { get; }

    /// <summary>The data.</summary>
    public ReadOnlySpan<byte> Data { get; }

    /// <summary>Where the data start, in bytes from the start of the file.</summary>
    public int DataOffset { get; }

    /// <summary>The bytes that an extension takes: header, data, padding to a multiple of 8.</summary>
    /// <param name="dataBytes">The length of the data.</param>
    public static int SizeBytes(int dataBytes) => HeaderBytes + ((dataBytes + 7) & ~7);
}
