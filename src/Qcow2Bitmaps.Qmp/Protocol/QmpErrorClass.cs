namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>The classes of errors that QMP knows and that occur here.</summary>
internal static class QmpErrorClass
{
    public const string Generic = "GenericError";

    /// <summary>The command does not exist, or is not available now.</summary>
    public const string CommandNotFound = "CommandNotFound";

    /// <summary>No such block job.</summary>
    public const string DeviceNotActive = "DeviceNotActive";
}
