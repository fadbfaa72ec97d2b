namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>The words of <c>preallocation</c>, and what is said where a device refuses one.</summary>
internal static class PreallocationModes
{
    public const string Off = "off";

    /// <summary>What a word means; false when it means nothing.</summary>
    public static bool TryParse(string text, out Preallocation mode)
    {
        mode = text switch
        {
            "metadata" => Preallocation.Metadata,
            "falloc" => Preallocation.Falloc,
            "full" => Preallocation.Full,
            _ => Preallocation.Off,
        };
        return mode != Preallocation.Off || text is Off;
    }

    /// <summary>What creating a qcow2 image says of a storage that takes no such mode.</summary>
    public static string CreationRefusal(Qcow2UnsupportedException e) => $"Could not resize image: {ResizeRefusal(e)}";

    /// <summary>What giving a qcow2 image more space says of a storage that takes no such mode.</summary>
    public static string ResizeRefusal(Qcow2UnsupportedException e) => $"Failed to resize underlying file: {e.Message}";

    /// <summary>What creating a raw image says of a storage that takes no such mode.</summary>
    public static string RawRefusal(Preallocation mode) =>
        $"Unsupported preallocation mode '{(mode == Preallocation.Full ? "full" : "falloc")}'";
}
