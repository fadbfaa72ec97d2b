namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>What a client may make the server hold. QEMU's own limits are 64 MiB for a token, 2 Mi tokens and a depth of 1024.</summary>
internal sealed record QmpLimits
{
    public static QmpLimits Default { get; } = new();

    /// <summary>The largest command, in bytes, without the white space between its parts.</summary>
    public int CommandBytes { get; init; } = 1 << 20;

    /// <summary>The maximum nesting depth of lists and objects.</summary>
    public int Depth { get; init; } = 1024;

    /// <summary>How many values a command may have.</summary>
    public int Values { get; init; } = 1 << 16;
}
