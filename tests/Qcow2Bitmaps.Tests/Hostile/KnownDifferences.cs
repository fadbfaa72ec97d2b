using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Where we differ from qemu-img 7.2 in which images we take, and why.</summary>
internal static class KnownDifferences
{
    /// <summary>Why we refuse an image that QEMU takes; null when there is no reason.</summary>
    public static string? WhyRefused(Probe probe)
    {
        FaultCode? code = ((probe.OpenError ?? probe.ReadErrors[0]) as Qcow2FormatException)?.Fault.Code;
        return code switch
        {
            FaultCode.SnapshotTableTruncated => "QEMU reads zeros behind the file's end, and shows snapshots that are not there",
            _ => null,
        };
    }

    /// <summary>Why we take an image that QEMU refuses; null when there is no reason.</summary>
    public static string? WhyTaken(Mutation mutation, string qemuError) =>
        mutation.HasOffsetNearTheEnd && qemuError.Contains("Input/output error", StringComparison.Ordinal)
            ? "QEMU cannot read in the last GiB below 2^63; to us that lies behind the file's end, and what is there is not needed or "
                + "counts as dirty"
            : null;
}
