namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>The values of <c>preallocation</c>, and the messages when a storage does not support one.</summary>
internal static class PreallocationModes
{
    public const string Off = "off";

    /// <summary>The library's id for a storage that does not support a mode.</summary>
    public const string RefusalId = "preallocation";

    /// <summary>Parses a value; false if it is unknown.</summary>
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

    /// <summary>The message for creating a qcow2 image on a storage that does not support the mode.</summary>
    public static string CreationRefusal(Qcow2UnsupportedException e) => $"Could not resize image: {ResizeRefusal(e)}";

    /// <summary>The message for enlarging a qcow2 image on a storage that does not support the mode.</summary>
    public static string ResizeRefusal(Qcow2UnsupportedException e) => $"Failed to resize underlying file: {e.Message}";

    /// <summary>The message for creating a raw image on a storage that does not support the mode.</summary>
    public static string RawRefusal(Preallocation mode) =>
        $"Unsupported preallocation mode '{(mode == Preallocation.Full ? "full" : "falloc")}'";
}
