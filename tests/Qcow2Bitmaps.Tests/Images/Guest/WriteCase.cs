using FsCheck;
using FsCheck.Fluent;

namespace Qcow2Bitmaps.Tests.Images.Guest;

/// <summary>An image, what is in it and below it, and what is done to it.</summary>
internal sealed record WriteCase(
    int ClusterBits,
    bool HasExtendedL2,
    int RefcountBits,
    bool IsVersion2,
    long SizeBytes,
    string Backing,
    string DataFile,
    bool HasSnapshot,
    IReadOnlyList<WriteStep> Before,
    IReadOnlyList<WriteStep> Steps)
{
    public static Gen<WriteCase> Generator { get; } =
        from clusterBits in Gen.Elements(9, 10, 12, 14, 16)
        from extended in Gen.Elements(false, true)
        from order in Gen.Choose(0, 6)
        from version2 in Gen.Frequency((5, Gen.Constant(false)), (1, Gen.Constant(true)))
        from sectors in Gen.OneOf(Gen.Choose(1, 300), Gen.Choose(300, 4000))
        from backing in Gen.Elements("", "", "qcow2", "raw")
        from dataFile in Gen.Frequency((5, Gen.Constant("")), (1, Gen.Constant("plain")), (1, Gen.Constant("raw")))
        from snapshot in Gen.Elements(true, false)
        from beforeCount in Gen.Choose(0, 8)
        from before in WriteStep.Generator.ListOf(beforeCount)
        from count in Gen.Choose(3, 20)
        from steps in WriteStep.Generator.ListOf(count)
        select Fit(
            new WriteCase(
                clusterBits, extended, 1 << order, version2, sectors * 512L, backing, dataFile, snapshot, [.. before], [.. steps]));

    public int ClusterBytes => 1 << ClusterBits;

    /// <summary>Options for <c>qemu-img create</c>.</summary>
    public string Options => IsVersion2
        ? $"compat=0.10,cluster_size={ClusterBytes}"
        : $"cluster_size={ClusterBytes},refcount_bits={RefcountBits},extended_l2={(HasExtendedL2 ? "on" : "off")}";

    public override string ToString() =>
        $"{Options} {SizeBytes} bytes, backing '{Backing}', data file '{DataFile}', "
        + $"{(HasSnapshot ? "snapshot" : "no snapshot")}\nbefore:\n{string.Join('\n', Before)}\nsteps:\n{string.Join('\n', Steps)}";

    private static WriteCase Fit(WriteCase c)
    {
        c = c.IsVersion2 ? c with { HasExtendedL2 = false, DataFile = "", RefcountBits = 16 } : c;
        c = c with { HasExtendedL2 = c.HasExtendedL2 && c.ClusterBits >= 14 };
        c = c.DataFile == "raw" ? c with { Backing = "" } : c;
        return c with { HasSnapshot = c.HasSnapshot && c.DataFile.Length == 0 && c.RefcountBits > 1 };
    }
}
