using System.Security.Cryptography;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>
/// Chains with some bytes of an image's metadata changed at random, given to every command that reads or changes chains: an error
/// or a result, and what the guest sees stays.
/// </summary>
public sealed class HostileCommandTests
{
    private const int ChainsPerFixture = 6;
    private const int CommandsPerChain = 4;
    private const int MaxFlips = 3;
    private const int LastTableBytes = 200_000;
    public static TheoryData<string> Chains() => new(FixtureIndex.Chains.Select(static chain => chain.Name));

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task EndWithAnErrorOrWithWhatTheGuestSawBefore(string fixture)
    {
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;
        string[] files = Directory.GetFiles(Path.Combine(FixtureFiles.Root, "chains", fixture));
        int count = ChainsPerFixture * Properties.Factor;
        for (int i = 0; i < count; i++)
        {
            var random = new SplitMix(((ulong)i << 16) + (ulong)fixture.Sum(static c => (int)c));
            using var folder = TempFolder.InMemory();
            foreach (string file in files)
            {
                File.Copy(file, folder.File(Path.GetFileName(file)));
            }

            string victim = random.Pick(files.Where(static file => file.EndsWith(".qcow2", StringComparison.Ordinal)).ToArray());
            byte[] bytes = await File.ReadAllBytesAsync(victim, cancellationToken);
            // In one of three anywhere: tables and refcounts too. What counts wrongly may be lost, as with QEMU, which does not look
            // either; but nothing unforeseen comes of it.
            bool isAnywhere = i % 3 == 2;
            IReadOnlyList<MetadataField> fields = isAnywhere ? Words(bytes) : await MetadataFields.FindAsync(bytes, cancellationToken);
            string what = "";
            for (int flips = 1 + random.Below(MaxFlips); flips > 0; flips--)
            {
                MetadataField field = random.Pick(fields);
                long place = field.Offset + random.Below(field.Bytes);
                byte value = random.Below(3) switch { 0 => 0, 1 => byte.MaxValue, _ => (byte)random.Below(256) };
                what += $"{field.Name} at {place}: {bytes[place]:x2} to {value:x2}; ";
                bytes[place] = value;
            }

            File.WriteAllBytes(folder.File(Path.GetFileName(victim)), bytes);
            for (int j = 0; j < CommandsPerChain; j++)
            {
                string? before = await ViewAsync(folder, cancellationToken);
                string[] arguments = Command(folder, random, j);
                string line = $"{fixture} {i}: {Path.GetFileName(victim)} with {what}\n{string.Join(' ', arguments)}";
                try
                {
                    ProcessResult result = await Support.Cli.RunAsync(arguments).WaitAsync(Patience.Limit, cancellationToken);
                    Assert.True(
                        result.ExitCode is >= 0 and <= 3 || (result.ExitCode == 63 && arguments[0] == "check"),
                        $"{line}\n{result.ExitCode}");
                    Assert.True(result.ExitCode != 1 || arguments[0] == "compare" || result.Error.Length > 0, $"{line}\nno message");
                    string? after = await ViewAsync(folder, cancellationToken);
                    Assert.True(
                        before is null || isAnywhere || before == after,
                        $"{line}\nthe guest sees something else\n{before}\n{after}\n{result.ExitCode} {result.Error}");
                }
                catch (Exception e) when (e is not OperationCanceledException and not Xunit.Sdk.XunitException)
                {
                    Assert.Fail($"{line}\n{e}");
                }

                if (Directory.GetFiles(folder.Path, "top.qcow2").Length == 0)
                {
                    break;
                }
            }
        }
    }

    /// <summary>All words of 8 bytes that are not zero, up to where tables of these images end.</summary>
    private static IReadOnlyList<MetadataField> Words(byte[] bytes) =>
    [
        .. Enumerable.Range(0, Math.Min(bytes.Length, LastTableBytes) / sizeof(ulong)).Where(
            i => i > 0 && bytes.AsSpan(i * sizeof(ulong), sizeof(ulong)).ContainsAnyExcept((byte)0))
            .Select(static i => new MetadataField("word", i * sizeof(ulong), sizeof(ulong))),
    ];

    private static string[] Command(TempFolder folder, SplitMix random, int number)
    {
        string top = folder.File("top.qcow2");
        string[] below = [.. Directory.GetFiles(folder.Path)
            .Where(path => path != top && !path.Contains("new", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
        string any = below.Length > 0 ? random.Pick(below) : top;
        string target = folder.File($"new{number}");
        return random.Below(26) switch
        {
            0 => ["chain", "check", top],
            1 => ["chain", "commit", "--keep", "--active", top, random.Below(2) == 0 ? top : any, any],
            2 => ["chain", "pull", top],
            3 => ["chain", "pull", top, "--base", any],
            4 => ["chain", "rebase", "-b", "", top],
            5 => ["chain", "flatten", top, target],
            6 => ["chain", "populate", top, "a"],
            7 => ["chain", "populate", top, "a", "--all-dirty", "--trust-birth"],
            8 => ["chain", "delete", top, "a"],
            9 => ["chain", "prune", top],
            10 => ["chain", "reconcile", top, "--expect", "a", "--drop"],
            11 => ["chain", "measure", top, "--flatten"],
            12 => ["chain", "measure", top, "--commit", any],
            13 => ["chain", "measure", top, "--pull"],
            14 => ["chain", "measure", top, "--snapshot"],
            15 => ["map", "--output", "json", top],
            16 => ["convert", "-O", "qcow2", "--bitmaps", top, target],
            17 => ["convert", "-O", "raw", top, target],
            18 => ["compare", top, any],
            19 => ["info", "--backing-chain", top],
            20 => ["check", any],
            21 => ["backup", "full", top, target, "--checkpoint", $"c{number}"],
            22 => ["backup", "incremental", top, target, "--since", "a", "--fallback", "full"],
            23 => ["bitmap", "--add", top, $"n{number}"],
            24 => ["bitmap", "--merge", "a", any, "a"],
            _ => ["chain", "snapshot", top, target],
        };
    }

    /// <summary>What the guest sees; null where it cannot be read.</summary>
    private static async Task<string?> ViewAsync(TempFolder folder, CancellationToken cancellationToken)
    {
        try
        {
            await using ImageChain chain = await ImageChain.OpenAsync(folder.File("top.qcow2"), cancellationToken: cancellationToken);
            long size = chain.SizeBytes;
            if (size > 64 << 20)
            {
                return null;
            }

            var bytes = new byte[size];
            await chain.ReadAsync(0, bytes, cancellationToken);
            return $"{size} {Convert.ToHexString(SHA256.HashData(bytes))}";
        }
        catch (IOException)
        {
            return null;
        }
    }
}
