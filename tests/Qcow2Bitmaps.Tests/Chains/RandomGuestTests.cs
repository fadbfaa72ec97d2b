using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Chains;

/// <summary>Random chains that QEMU's tools have written: the guest's bytes and the map are those that QEMU reads.</summary>
public sealed class RandomGuestTests
{
    private static readonly int s_cases = Environment.GetEnvironmentVariable("QCOW2BITMAPS_ALL_TRIALS") == "1" ? 1000 : 40;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void BytesAndMapAreThoseOfQemu()
    {
        Qemu.Require();
        Properties.ForAll(Gen.Choose(0, int.MaxValue), s_cases, static seed => CompareAsync(seed).GetAwaiter().GetResult());
    }

    private static async Task CompareAsync(int seed)
    {
        using var folder = new TempFolder();
        var chainCase = new RandomGuestCase(seed);
        string top = await chainCase.MakeAsync(folder);
        string raw = folder.File("disk.raw");
        await Qemu.ImgOkAsync("convert", "-f", "qcow2", "-O", "raw", top, raw);
        byte[] expected = await File.ReadAllBytesAsync(raw, Token);

        await using (ImageChain chain = await ImageChain.OpenAsync(top, cancellationToken: Token))
        {
            var actual = new byte[expected.Length + 1];
            Assert.Equal(expected.Length, await chain.ReadAsync(0, actual, Token));
            int same = expected.AsSpan().CommonPrefixLength(actual);
            Assert.True(same == expected.Length, $"seed {seed}: byte {same} differs\n{chainCase}");
        }

        string map = await Qemu.ImgOkAsync("map", "--output", "json", top);
        ProcessResult ours = await Support.Cli.RunAsync("map", "--output", "json", top);
        Assert.True(map == ours.Output, $"seed {seed}\n{chainCase}\nQEMU:\n{map}\nours:\n{ours.Output}{ours.Error}");
    }
}
